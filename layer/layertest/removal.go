package layertest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

var noResurrection = []check{
	{"running request", "A request that was running when its user logged out logs the user in again.", nothing, onOneNode(holdsAgainst(closing))},
	{"running request on another node", "A request that was running on another node when its user logged out logs the user in again.", needsNodes, onTwoNodes(holdsAgainst(closing))},
	{"new id", "A request that was running when its user logged out carries the session to a new id.", nothing, onOneNode(holdsAgainst(regenerating))},
	{"new id on another node", "A request on another node carries a session that was logged out to a new id.", needsNodes, onTwoNodes(holdsAgainst(regenerating))},
	{"second close", "GoFrame's second close of a request after a log-out returns an error though nothing is lost, or logs the user in again.", needsMaps, onOneNode(holdsAgainstSecondClose)},
	{"second close on another node", "GoFrame's second close of a request after a log-out on another node returns an error though nothing is lost, or logs the user in again.", needsNodes | needsMaps, onTwoNodes(holdsAgainstSecondClose)},
	{"second close after a refusal", "GoFrame's second close tries a refused change again at the store, and it is counted twice.", needsWrapped | needsMaps, refusesOnce},
	{"new log-in", "A change by a request of the old log-in shows in the new one.", needsMaps, holdsAfterNewLogin},
	{"same log-in again", "A change by a request of the old log-in shows in the new one, which holds the same data.", needsMaps, holdsAfterSameLogin},
	{"log-out during a change of id", "A log-out on another node while the id is changed leaves the session under its new id.", needsWrapped | needsMaps, holdsWhileRegenerating},
	{"a lost reply", "A session is begun again after its log-out, as the reply to its first write was lost.", needsWrapped | needsMaps, beginsOnce},
	{"removal that failed", "A log-out that failed loses the changes of running requests.", needsWrapped, failsToRemove},
	{"log-in by the same request", "A request that removes its session and fills it again is refused.", nothing, fillsAnew},
	{"under load", "Now and then a log-out is undone.", nothing, onOneNode(holdsUnderLoad)},
	{"under load on two nodes", "Now and then a log-out is undone by another node.", needsNodes, onTwoNodes(holdsUnderLoad)},
	{"nothing is left", "A log-out leaves an empty session behind.", nothing, leavesNothing},
}

// closing and regenerating are two ways in which a request ends.
func closing(request *gsession.Session) error { return request.Close() }

func regenerating(request *gsession.Session) error {
	_, err := request.RegenerateId(false)
	return err
}

func holdsAgainst(end func(*gsession.Session) error) func(e *env, a, b gsession.Storage) error {
	return func(e *env, a, b gsession.Storage) error {
		id := e.id()
		e.must(e.save(a, id, values{"user": "one"}))
		request := e.begin(b, id)
		e.must(e.logOut(a, id))
		// A direct store can't refuse: the key is written at once, before the request ends.
		written := request.Set("late", "x")
		if written == nil {
			written = end(request)
		}
		left := e.find(b, request.MustId())
		if _, back := left["user"]; back {
			return errors.New("what was loaded before the log-out is back")
		}
		if e.direct() {
			return nil
		}
		if err := e.refused(written); err != nil && !(e.deferred && a != b && written == nil) {
			return err
		}
		return e.expect(b, id, values{})
	}
}

// holdsAgainstSecondClose has one request that has saved its change before the log-out, and one that closes for the
// first time after it.
func holdsAgainstSecondClose(e *env, a, b gsession.Storage) error {
	id := e.id()
	e.must(e.save(a, id, values{"user": "one"}))
	saved, late := e.begin(b, id), e.begin(b, id)
	e.must(saved.Set("k", "v"), saved.Close(), e.settle(), late.Set("late", "x"))
	e.must(e.logOut(a, id), e.settle())
	for range 2 {
		if err := saved.Close(); err != nil {
			return fmt.Errorf("nothing was lost, and the second close returned: %w", err)
		}
	}
	for range 2 {
		written := late.Close()
		if err := e.refused(written); err != nil && !(e.deferred && a != b && written == nil) {
			return err
		}
	}
	return errors.Join(e.expect(b, id, values{}), e.expect(a, id, values{}))
}

func refusesOnce(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	e.must(e.save(s, id, values{"user": "one"}))
	request := e.begin(s, id)
	e.must(request.Set("late", "x"), e.logOut(s, id))
	e.must(e.refused(request.Close()))
	before := fault.Writes()
	for range 2 {
		e.must(e.refused(request.Close()))
	}
	if after := fault.Writes(); after != before {
		return fmt.Errorf("closing again cost %d writes", after-before)
	}
	return e.expect(fault.Store(), id, values{})
}

func holdsAfterNewLogin(e *env) error { return e.holdsAfter(values{"user": "two"}) }

func holdsAfterSameLogin(e *env) error { return e.holdsAfter(values{"user": "one"}) }

func (e *env) holdsAfter(login values) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, values{"user": "one"}))
	request := e.begin(s, id)
	e.must(e.logOut(s, id))
	e.must(e.save(s, id, login))
	e.must(request.Set("late", "x"))
	e.must(e.refused(request.Close()))
	return e.expect(s, id, login)
}

// holdsWhileRegenerating has another node log out after this one has looked at the old id and before it writes the
// new one.
func holdsWhileRegenerating(e *env) error {
	for _, deleteOld := range []bool{true, false} {
		fault := &faults{}
		s, id, next := e.wrapped(e.T, fault.Wrap), e.id(), e.id()
		e.must(e.save(s, id, values{"user": "one"}), e.flushed(s))
		request := e.session(s, id)
		request.SetIdFunc(func(time.Duration) string { return next })
		if _, err := request.Data(); err != nil {
			return err
		}
		var other error
		fault.meanwhile(next, func() { other = fault.Store().RemoveAll(e.ctx, id) }, nil)
		_, _ = request.RegenerateId(deleteOld) // refused, or undone
		_ = request.Close()
		e.must(e.flushed(s), other)
		// Memory doesn't notice how a commit behind ended before its bound is over.
		limit := time.Duration(0)
		if e.deferred {
			limit = e.maxStale + freshBound
		}
		for storage, limit := range map[gsession.Storage]time.Duration{fault.Store(): 0, s: limit} {
			var left values
			var err error
			if !poll(limit, func() bool { left, err = e.data(storage, next); return err == nil && len(left) == 0 }) {
				return errors.Join(err, fmt.Errorf("%d keys are left under the new id", len(left)))
			}
		}
	}
	return nil
}

// beginsOnce loses the reply to the write that begins a session. Another node logs out before the request is closed a
// second time.
func beginsOnce(e *env) error {
	fault := &faults{}
	a, id := e.wrapped(e.T, fault.Wrap), e.id()
	b := e.beside(fault)
	request := e.session(a, id)
	e.must(request.Set("user", "one"))
	e.closeWithoutReply(a, fault, request, func() error { return e.logOut(b, id) })
	return e.expect(e.beside(fault), id, values{}) // memory holds nothing there
}

func failsToRemove(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	e.must(e.save(s, id, values{"user": "one"}), e.flushed(s))
	request := e.begin(s, id)
	fault.Fail(errors.New("the disk is on fire"))
	removal := s.RemoveAll(e.ctx, id)
	fault.Fail(nil)
	if removal == nil {
		return errors.New("a removal that the store refused was accepted")
	}
	if err := errors.Join(request.Set("k", "v"), request.Close(), e.flushed(s)); err != nil {
		return fmt.Errorf("the session is still there, and its write returned: %w", err)
	}
	return e.expect(s, id, values{"user": "one", "k": "v"})
}

func fillsAnew(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, values{"user": "one", "cart": "full"}))
	request := e.begin(s, id)
	e.must(request.RemoveAll(), request.Set("user", "two"), request.Close())
	return e.expect(s, id, values{"user": "two"})
}

func holdsUnderLoad(e *env, a, b gsession.Storage) error {
	for range 20 {
		id := e.id()
		e.must(e.save(a, id, values{"user": "one"}))
		var running []*gsession.Session
		for n := range 8 {
			running = append(running, e.begin([]gsession.Storage{a, b}[n%2], id))
		}
		var group sync.WaitGroup
		for n, request := range running {
			group.Go(func() {
				_ = request.Set(fmt.Sprint("late ", n), "x")
				_ = request.Close() // accepted before the log-out, or refused after it
			})
		}
		e.must(e.logOut(a, id))
		group.Wait()
		left := e.find(a, id)
		if _, back := left["user"]; back || len(left) > 0 && !e.direct() {
			return fmt.Errorf("%d keys are back after the log-out", len(left))
		}
	}
	return nil
}

func leavesNothing(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, values{"user": "one"}))
	request := e.begin(s, id)
	e.must(request.RemoveAll(), request.Close(), request.Close())
	m, err := s.GetSession(e.ctx, id, ttl)
	if err != nil {
		return err
	}
	unknown, err := s.GetSession(e.ctx, e.id(), ttl)
	if err != nil {
		return err
	}
	if (m == nil) != (unknown == nil) {
		return fmt.Errorf("GetSession returns a map of a removed session: %t, and of an unknown one: %t; it has to be the same", m != nil, unknown != nil)
	}
	return nil
}
