package layertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

var timeToLive = []check{
	{"ends", "A session outlives its time.", nothing, expires},
	{"in use", "A session that is read all the time ends nevertheless.", nothing, slides},
	{"shortened", "A session whose time was shortened goes on until its old end.", nothing, shortens},
	{"no time to live", "A session that never ends in its store is lost.", needsBare, lasts},
	{"odd times", "An odd time to live breaks the storage.", nothing, oddTimes},
}

var bounded = []check{
	{"goroutines", "Each chain that is closed leaves goroutines behind.", nothing, stops},
	{"after close", "Sessions in memory are served for good after the storage was closed.", needsWrapped | needsMaps, readsBelowAfterClose},
	{"close under load", "Closing while requests run breaks them.", nothing, closesUnderLoad},
}

func expires(e *env) error {
	s := e.storage()
	manager := gsession.New(e.life(), s)
	id, early := e.id(), e.id()
	began := time.Now()
	for _, id := range []string{id, early} {
		request := manager.New(e.ctx, id)
		e.must(request.Set("k", "v"), request.Close())
	}
	gone := func(id string) bool {
		value, err := manager.New(e.ctx, id).Get("k")
		return err == nil && value.IsNil()
	}
	time.Sleep(e.life() / 2)
	if gone(early) && time.Since(began) < e.life()-e.precision {
		return fmt.Errorf("a session of %v ended within %v", e.life(), time.Since(began))
	}
	// A read may count as a use, so that nothing is read until the time has come.
	time.Sleep(e.life() + e.precision + e.maxStale)
	if !poll(freshBound, func() bool { return gone(id) }) {
		return errors.New("the session is still there long after its time")
	}
	return nil
}

// slides keeps a session in use for three times its life. A test machine that stalls
// for half of a life proves nothing.
func slides(e *env) error {
	s := e.storage()
	life := max(1500*time.Millisecond, 3*e.precision)
	for tries := 0; ; tries++ {
		id := e.id()
		manager := gsession.New(life, s)
		request := manager.New(e.ctx, id)
		last := time.Now()
		e.must(request.Set("k", "v"), request.Close())
		stalled, ended := false, false
		for end := time.Now().Add(2 * life); time.Now().Before(end) && !ended; {
			request := manager.New(e.ctx, id)
			value, err := request.Get("k")
			if err != nil {
				return err
			}
			stalled = stalled || time.Since(last) > life/2
			last = time.Now()
			if ended = value.IsNil(); ended {
				break
			}
			e.must(request.Close())
			time.Sleep(life / 20)
		}
		switch {
		case !ended:
			return nil
		case !stalled || tries == 20:
			return fmt.Errorf("a session in use ended within two of its lives of %v", life)
		}
	}
}

func shortens(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, values{"k": "v"}), e.flushed(s), e.expect(s, id, values{"k": "v"}))
	e.must(s.UpdateTTL(e.ctx, id, e.life()))
	time.Sleep(e.life() + e.precision)
	if !poll(freshBound, func() bool { return e.expect(s, id, values{}) == nil }) {
		return errors.New("the session is still there long after its time")
	}
	return nil
}

// lasts compares with the bare store: some stores take a ttl of 0 for no end at all, and some refuse it.
func lasts(e *env) error {
	s, bare, id := e.storage(), e.bare(e.T), e.id()
	save := func(s gsession.Storage) error {
		request := gsession.New(0, s).New(e.ctx, id)
		return errors.Join(request.Set("k", "v"), request.Close())
	}
	there := func(s gsession.Storage) bool {
		value, err := gsession.New(0, s).New(e.ctx, id).Get("k")
		return err == nil && value.String() == "v"
	}
	refused := save(bare)
	got := save(s)
	if err := e.flushed(s); refused == nil && err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	if refused == nil && there(bare) && (got != nil || !there(s)) {
		return fmt.Errorf("the bare store keeps the session; here the write returned %v, and it is lost", got)
	}
	return nil
}

func oddTimes(e *env) error {
	for _, life := range []time.Duration{0, -time.Second, 1, 900 * time.Millisecond, 100 * 365 * 24 * time.Hour} {
		s, id := e.storage(), e.id()
		manager := gsession.New(life, s)
		request := manager.New(e.ctx, id)
		if err := errors.Join(request.Set("k", "v"), request.Close()); err == nil && life > time.Hour {
			if value, err := manager.New(e.ctx, id).Get("k"); err != nil || value.String() != "v" {
				return fmt.Errorf("with a ttl of %v the session holds %v, %v", life, value, err)
			}
		}
		other := e.id()
		if err := e.save(s, other, values{"k": "again"}); err != nil {
			return fmt.Errorf("after a ttl of %v: %w", life, err)
		}
		e.must(e.expect(s, other, values{"k": "again"}))
	}
	return nil
}

type closer interface {
	gsession.Storage
	Close(context.Context) error
}

// stops compares many chains, so that what the store itself leaves running once
// doesn't count. They are closed and cleaned up first, as a store's connections may run until then.
// A chain's goroutines are known by their profiler label, which they hand on to those that they start.
func stops(e *env) error {
	const chains, label = 20, "layertest"
	mark := e.id()
	running := func() (n int) {
		var profile bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
		count := 0 // of the stack that the lines are about
		for line := range strings.Lines(profile.String()) {
			if strings.HasPrefix(line, "# labels:") && strings.Contains(line, mark) {
				n += count
			}
			_, _ = fmt.Sscanf(line, "%d @", &count)
		}
		return n
	}
	use := func(t *testing.T) (err error) {
		pprof.Do(e.ctx, pprof.Labels(label, mark), func(ctx context.Context) {
			s := e.open(t)
			if err = e.save(s, e.id(), values{"k": "v"}); err != nil {
				return
			}
			if c, ok := s.(closer); ok {
				err = c.Close(ctx)
			}
		})
		return err
	}
	var failed error
	e.T.Run("chains", func(t *testing.T) {
		failed = caught(func() (err error) {
			for n := 0; n < chains && err == nil; n++ {
				err = use(t)
			}
			return err
		})
	})
	e.must(failed)
	if !poll(freshBound, func() bool { return running() < chains }) {
		return fmt.Errorf("%d goroutines are left of %d chains", running(), chains)
	}
	return nil
}

// readsBelowAfterClose moves the session as it is in the store, whatever the storage makes of it.
func readsBelowAfterClose(e *env) error {
	fault := &faults{}
	s := e.wrapped(e.T, fault.Wrap)
	c, ok := s.(closer)
	if !ok || e.takesKeys(fault.Store()) {
		return nil // the maps of such a store hold nothing
	}
	known, unknown := e.id(), e.id()
	e.must(e.save(s, known, values{"k": "v"}), e.flushed(s))
	e.must(e.expect(s, known, values{"k": "v"}), e.expect(s, unknown, values{}))
	e.must(c.Close(e.ctx))
	store := fault.Store()
	m, err := store.GetSession(e.ctx, known, ttl)
	if err != nil {
		return err
	}
	if m == nil {
		return errors.New("what was saved isn't in the store")
	}
	e.must(store.SetSession(e.ctx, unknown, locked(m.Map()), ttl), store.RemoveAll(e.ctx, known))
	return errors.Join(e.expect(s, known, values{}), e.expect(s, unknown, values{"k": "v"}))
}

func closesUnderLoad(e *env) error {
	s, ok := e.storage().(closer)
	if !ok {
		return nil
	}
	const requests = 8
	var ready sync.WaitGroup
	ready.Add(requests)
	var closed atomic.Bool
	return e.together(requests+1, func(n int, id string) error {
		if n == requests {
			ready.Wait()
			defer closed.Store(true)
			return errors.Join(s.Close(e.ctx), s.Close(e.ctx))
		}
		began := sync.OnceFunc(ready.Done)
		defer began()
		for round := 0; !closed.Load(); round++ {
			if err := e.saveAndFind(s, id, values{"k": fmt.Sprint(round)}); err != nil {
				return err
			}
			if round == 4 {
				began()
			}
		}
		return nil
	})
}
