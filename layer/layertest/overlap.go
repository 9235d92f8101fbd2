package layertest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/gogf/gf/v2/os/gsession"
)

var readYourWrites = []Check{
	{"at once", "A request doesn't find what the one before it has saved.", Nothing, seesWrites},
	{"under load", "Now and then a request finds an older state.", Nothing, seesWritesUnderLoad},
}

var fresh = []Check{
	{"another node", "A change on one node stays unknown on another.", NeedsNodes, seesOtherNodes},
}

var noLostUpdate = []Check{
	{"two requests", "Of two requests at the same time, one loses what it has saved.", Nothing, onOneNode(overlap)},
	{"two that create", "Of the first two requests of a visitor, one loses what it has saved.", Nothing, onOneNode(overlapAnew)},
	{"removed keys", "A key that a request removed comes back with the close of another one.", Nothing, onOneNode(overlapRemoval)},
	{"many requests", "Under load, some requests lose what they have saved.", Nothing, onOneNode(overlapMany)},
	{"two nodes", "Of two requests on two nodes, one loses what it has saved.", NeedsNodes, onTwoNodes(overlap)},
	{"many requests on two nodes", "Under load, some requests on two nodes lose what they have saved.", NeedsNodes, onTwoNodes(overlapMany)},
	{"a lost reply", "A write whose reply was lost is written again, over what another node has made of it.", NeedsWrapped, writesOnce},
	{"regenerate", "What another request saves while the id is changed is lost.", Nothing, onOneNode(overlapRegenerate)},
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
		if err := e.save(s, id, values{"k": value}); err != nil {
			return err
		}
		if err := e.expect(s, id, values{"k": value}); err != nil {
			return err
		}
		if round%10 == 9 {
			if err := e.logOut(s, id); err != nil {
				return err
			}
			if err := e.expect(s, id, values{}); err != nil {
				return fmt.Errorf("after a log-out: %w", err)
			}
		}
	}
	return nil
}

func seesWritesUnderLoad(e *env) error {
	s := e.storage()
	var group sync.WaitGroup
	failed := make(chan error, 4)
	for range cap(failed) {
		id := e.id()
		group.Go(func() {
			stop := make(chan struct{})
			defer close(stop)
			group.Go(func() { // another request, which reads all the time
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = e.data(s, id)
					}
				}
			})
			for round := range 100 {
				value := fmt.Sprint(round)
				err := e.save(s, id, values{"k": value})
				if err == nil {
					err = e.expect(s, id, values{"k": value})
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

func seesOtherNodes(e *env) error {
	a, b := e.two()
	for range 3 {
		id := e.id()
		if err := e.save(a, id, values{"k": "old"}); err != nil {
			return err
		}
		if err := e.expect(b, id, values{"k": "old"}); err != nil {
			return err
		}
		for _, step := range []struct {
			change func() error
			want   values
		}{
			{func() error { return e.save(a, id, values{"k": "new"}) }, values{"k": "new"}},
			{func() error { return e.logOut(a, id) }, values{}},
		} {
			if err := step.change(); err != nil {
				return err
			}
			var last error
			if !poll(e.maxStale+freshBound, func() bool { last = e.expect(b, id, step.want); return last == nil }) {
				return fmt.Errorf("long after the bound: %w", last)
			}
		}
	}
	return nil
}

func overlap(e *env, a, b gsession.Storage) error {
	id := e.id()
	if err := e.save(a, id, values{"seed": "0"}); err != nil {
		return err
	}
	return e.both(a, b, id, values{"seed": "0", "a": "1", "b": "2"})
}

func overlapAnew(e *env, a, b gsession.Storage) error {
	return e.both(a, b, e.id(), values{"a": "1", "b": "2"})
}

func overlapRemoval(e *env, a, b gsession.Storage) error {
	id := e.id()
	if err := e.save(a, id, values{"kept": "0", "removed": "1"}); err != nil {
		return err
	}
	one, err := e.begin(a, id)
	if err != nil {
		return err
	}
	two, err := e.begin(b, id)
	if err != nil {
		return err
	}
	if err := errors.Join(one.Remove("removed"), two.Set("b", "2"), one.Close(), two.Close()); err != nil {
		return err
	}
	return e.expect(b, id, values{"kept": "0", "b": "2"})
}

func overlapMany(e *env, a, b gsession.Storage) error {
	id := e.id()
	const requests, rounds = 8, 10
	if err := e.save(a, id, values{"seed": "0"}); err != nil {
		return err
	}
	want := values{"seed": "0"}
	var group sync.WaitGroup
	failed := make(chan error, requests)
	for n := range requests {
		s, key := a, fmt.Sprint("key ", n)
		if n%2 == 1 {
			s = b
		}
		want[key] = fmt.Sprint(rounds - 1)
		group.Go(func() {
			for round := range rounds {
				if err := e.save(s, id, values{key: fmt.Sprint(round)}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	var last error
	if !poll(e.maxStale+freshBound, func() bool { last = e.expect(a, id, want); return last == nil }) {
		return last
	}
	return nil
}

// writesOnce: whether the first attempt was applied isn't known, and another node has read it.
func writesOnce(e *env) error {
	fault := &Fault{}
	a, id := e.wrapped(e.T, fault.Wrap), e.id()
	if e.direct(a) {
		return nil // such a store is given each key by itself
	}
	b := e.beside(fault)
	if err := errors.Join(e.save(a, id, values{"k": "0", "kept": "0"}), e.flushed(a)); err != nil {
		return err
	}
	request, err := e.begin(a, id)
	if err != nil {
		return err
	}
	var other error
	fault.meanwhile(id, nil, func() { other = errors.Join(e.save(b, id, values{"k": "2"}), e.flushed(b)) })
	if err := request.Set("k", "1"); err != nil {
		return err
	}
	for range 2 { // GoFrame closes once more
		_ = request.Close() // the storage may find out what has become of it, or not
	}
	if err := errors.Join(e.flushed(a), other); err != nil {
		return err
	}
	return e.expect(e.beside(fault), id, values{"k": "2", "kept": "0"}) // memory holds nothing there
}

func overlapRegenerate(e *env, a, b gsession.Storage) error {
	id := e.id()
	if err := e.save(a, id, values{"seed": "0"}); err != nil {
		return err
	}
	one, err := e.begin(a, id)
	if err != nil {
		return err
	}
	if err := e.save(b, id, values{"b": "2"}); err != nil {
		return err
	}
	next, err := one.RegenerateId(false)
	if err != nil {
		return err
	}
	if err := errors.Join(one.Set("a", "1"), one.Close()); err != nil {
		return err
	}
	return e.expect(a, next, values{"seed": "0", "a": "1", "b": "2"})
}
