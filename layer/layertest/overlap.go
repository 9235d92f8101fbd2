package layertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gogf/gf/v2/os/gsession"
)

var readYourWrites = []check{
	{"at once", "A request doesn't find the changes of the one before it.", nothing, seesWrites},
	{"under load", "Now and then a request finds an older state.", nothing, seesWritesUnderLoad},
}

var fresh = []check{
	{"another node", "A change on one node stays unknown on another.", needsNodes, seesOtherNodes},
}

var noLostUpdate = []check{
	{"two requests", "One of two requests at the same time loses its changes.", nothing, onOneNode(overlap)},
	{"two that create", "One of a visitor's first two requests loses its changes.", nothing, onOneNode(overlapAnew)},
	{"removed keys", "A key that a request removed comes back with the close of another one.", nothing, onOneNode(overlapRemoval)},
	{"many requests", "Under load, some requests lose their changes.", nothing, onOneNode(overlapMany)},
	{"two nodes", "One of two requests on two nodes loses its changes.", needsNodes, onTwoNodes(overlap)},
	{"many requests on two nodes", "Under load, some requests on two nodes lose their changes.", needsNodes, onTwoNodes(overlapMany)},
	{"a lost reply", "A write whose reply was lost is repeated, and overwrites a later write of another node.", needsWrapped | needsMaps, writesOnce},
	{"regenerate", "Changes that another request saves while the id is changed are lost.", nothing, onOneNode(overlapRegenerate)},
}

func onOneNode(check func(e *env, a, b gsession.Storage) error) func(*env) error {
	return func(e *env) error {
		s := e.storage()
		return check(e, s, s)
	}
}

func onTwoNodes(check func(e *env, a, b gsession.Storage) error) func(*env) error {
	return func(e *env) error {
		a, b := e.two()
		return check(e, a, b)
	}
}

func seesWrites(e *env) error {
	s, id := e.storage(), e.id()
	for round := range 50 {
		value := fmt.Sprint(round)
		e.must(e.saveAndFind(s, id, values{"k": value}))
		if round%10 == 9 {
			e.must(e.logOut(s, id))
			if err := e.expect(s, id, values{}); err != nil {
				return fmt.Errorf("after a log-out: %w", err)
			}
		}
	}
	return nil
}

func seesWritesUnderLoad(e *env) error {
	s := e.storage()
	return e.together(4, func(_ int, id string) error {
		var reader sync.WaitGroup
		var stop atomic.Bool
		reader.Go(func() { // another request, which reads all the time
			for !stop.Load() {
				_, _ = e.data(s, id)
			}
		})
		defer reader.Wait()
		defer stop.Store(true)
		for round := range 100 {
			if err := e.saveAndFind(s, id, values{"k": fmt.Sprint(round)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func seesOtherNodes(e *env) error {
	a, b := e.two()
	for range 3 {
		id := e.id()
		e.must(e.save(a, id, values{"k": "old"}))
		e.must(e.expect(b, id, values{"k": "old"}))
		for _, step := range []struct {
			change func() error
			want   values
		}{
			{func() error { return e.save(a, id, values{"k": "new"}) }, values{"k": "new"}},
			{func() error { return e.logOut(a, id) }, values{}},
		} {
			e.must(step.change())
			if err := e.eventually(b, id, step.want); err != nil {
				return fmt.Errorf("long after the bound: %w", err)
			}
		}
	}
	return nil
}

func overlap(e *env, a, b gsession.Storage) error {
	id := e.id()
	e.must(e.save(a, id, values{"seed": "0"}))
	return e.both(a, b, id, values{"seed": "0", "a": "1", "b": "2"})
}

func overlapAnew(e *env, a, b gsession.Storage) error {
	return e.both(a, b, e.id(), values{"a": "1", "b": "2"})
}

func overlapRemoval(e *env, a, b gsession.Storage) error {
	id := e.id()
	e.must(e.save(a, id, values{"kept": "0", "removed": "1"}))
	one := e.begin(a, id)
	two := e.begin(b, id)
	e.must(one.Remove("removed"), two.Set("b", "2"), one.Close(), two.Close())
	return e.expect(b, id, values{"kept": "0", "b": "2"})
}

func overlapMany(e *env, a, b gsession.Storage) error {
	id := e.id()
	const requests, rounds = 8, 10
	e.must(e.save(a, id, values{"seed": "0"}))
	want := values{"seed": "0"}
	for n := range requests {
		want[fmt.Sprint("key ", n)] = fmt.Sprint(rounds - 1)
	}
	e.must(e.together(requests, func(n int, _ string) error {
		s := []gsession.Storage{a, b}[n%2]
		for round := range rounds {
			if err := e.save(s, id, values{fmt.Sprint("key ", n): fmt.Sprint(round)}); err != nil {
				return err
			}
		}
		return nil
	}))
	return e.eventually(a, id, want)
}

// writesOnce loses the reply to a write. Another node writes the key again before the request is closed a second time.
func writesOnce(e *env) error {
	fault := &faults{}
	a, id := e.wrapped(e.T, fault.Wrap), e.id()
	b := e.beside(fault)
	e.must(e.save(a, id, values{"k": "0", "kept": "0"}), e.flushed(a))
	request := e.begin(a, id)
	e.must(request.Set("k", "1"))
	e.closeWithoutReply(a, fault, request, func() error { return errors.Join(e.save(b, id, values{"k": "2"}), e.flushed(b)) })
	return e.expect(e.beside(fault), id, values{"k": "2", "kept": "0"}) // memory holds nothing there
}

func overlapRegenerate(e *env, a, b gsession.Storage) error {
	id := e.id()
	e.must(e.save(a, id, values{"seed": "0"}))
	one := e.begin(a, id)
	e.must(e.save(b, id, values{"b": "2"}))
	next, err := one.RegenerateId(false)
	if err != nil {
		return err
	}
	e.must(one.Set("a", "1"), one.Close())
	return e.expect(a, next, values{"seed": "0", "a": "1", "b": "2"})
}
