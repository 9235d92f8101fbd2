package layertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gogf/gf/v2/os/gsession"
)

var noSilentLoss = []check{
	{"cancelled callers", "A write returned nil, and isn't there.", nothing, cancelled},
	{"failing store", "The store refused a write, and the caller got no error.", needsWrapped, failing},
	{"panicking store", "After a panic in the store, the session can't be used any more.", needsWrapped, panicking},
	{"values that can't be saved", "A value that can't be saved takes the rest of the session with it.", nothing, unsavable},
	{"refused before the store is written", "A value that can't be saved is refused, and something is written all the same.", needsWrapped | needsMaps, refusedUntouched},
	{"refused or readable", "A value that can't be saved is written, and then no request can read the session.", needsNodes | needsMaps, refusedOrReadable},
	{"panicking values", "A value that panics while it is encoded makes other sessions' requests panic.", nothing, panicsAlone},
	{"reading strange ids", "A strange cookie makes each page an error.", nothing, readsBadIDs},
	{"writing strange ids", "An id that a client made up breaks the storage, or finds another session.", nothing, badIDs},
	{"second close", "GoFrame's second close of a request costs a second write.", needsWrapped | needsMaps, secondClose},
	{"close of the storage", "Changes from right before the end of the program are lost.", needsWrapped, survivesClose},
}

func cancelled(e *env) error {
	s := e.storage()
	for n := range 60 {
		id := e.id()
		ctx, cancel := context.WithCancel(e.ctx)
		var group sync.WaitGroup
		at := n % 3 // before the request, between its two steps, or in the midst of them
		if at == 0 {
			cancel()
		}
		request := gsession.New(ttl, s).New(ctx, id)
		if at == 2 {
			group.Go(cancel)
		}
		err := request.Set("k", "v")
		if at == 1 {
			cancel()
		}
		err = errors.Join(err, request.Close())
		group.Wait()
		cancel()
		if err == nil {
			if err := e.expect(s, id, values{"k": "v"}); err != nil {
				return fmt.Errorf("a write that had returned nil: %w", err)
			}
		}
		if err := e.save(s, id, values{"k": "again"}); err != nil {
			return fmt.Errorf("after a cancelled request: %w", err)
		}
		e.must(e.expect(s, id, values{"k": "again"}))
	}
	return nil
}

func failing(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	e.must(e.save(s, id, values{"k": "old"}))
	broken := errors.New("the disk is on fire")
	fault.Fail(broken)
	if e.deferred {
		e.must(e.save(s, id, values{"k": "new"}))
		fault.Fail(nil)
		return e.delivered(s, fault, id)
	}
	if err := e.save(s, id, values{"k": "new"}); !errors.Is(err, broken) {
		return fmt.Errorf("a write that the store refused returned %v", err)
	}
	if err := s.RemoveAll(e.ctx, id); !errors.Is(err, broken) {
		return fmt.Errorf("a removal that the store refused returned %v", err)
	}
	fault.Fail(nil)
	e.must(e.expect(s, id, values{"k": "old"}))
	e.must(e.save(s, id, values{"k": "new"}))
	return e.expect(s, id, values{"k": "new"})
}

func panicking(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	e.must(e.save(s, id, values{"k": "old"}))
	if e.deferred { // a session whose beginning may have been lost isn't begun again
		e.must(flush(e.ctx, s))
	}
	fault.Panic(true)
	if e.deferred {
		e.must(e.save(s, id, values{"k": "new"}))
		fault.Panic(false)
		return e.delivered(s, fault, id)
	}
	panicked, err := e.trySave(s, id, values{"k": "new"})
	fault.Panic(false)
	if err == nil && !panicked {
		return errors.New("a write in which the store panicked was accepted")
	}
	e.must(e.save(s, id, values{"k": "new"}))
	return e.expect(s, id, values{"k": "new"})
}

// unsavable allows for a store that takes any Go value: it may take these, and then they must be there.
func unsavable(e *env) error {
	cycle := values{}
	cycle["itself"] = cycle
	for name, value := range map[string]any{
		"a channel": make(chan int), "NaN": math.NaN(), "a cycle": cycle, "a JSON number": json.Number("1"), "a complex number": complex(1, 2),
	} {
		s, id := e.storage(), e.id()
		e.must(e.save(s, id, values{"k": "old"}))
		if e.direct() && name == "a cycle" {
			continue // GoFrame's adapter runs out of stack on one
		}
		if err := e.save(s, id, values{"bad": value, "k": "new"}); err == nil {
			data, err := e.data(s, id)
			if _, there := data["bad"]; err != nil || !there {
				return fmt.Errorf("%s was accepted and isn't there", name)
			}
			continue
		}
		if err := e.expect(s, id, values{"k": "old"}); err != nil {
			return fmt.Errorf("after %s: %w", name, err)
		}
	}
	return nil
}

// fickle is encoded once, and never again.
type fickle struct{ encoded atomic.Bool }

func (f *fickle) MarshalJSON() ([]byte, error) {
	if f.encoded.Swap(true) {
		return nil, errors.New("encoded before")
	}
	return []byte(`"once"`), nil
}

// unsavables are values that some encoding refuses, before or while it writes.
func unsavables() map[string]any {
	var deep any = "x"
	for range 20_000 {
		deep = []any{deep}
	}
	return map[string]any{
		"a value nested too deep": deep, "a channel": make(chan int), "a function": func() {}, "NaN": math.NaN(), "a fickle value": &fickle{},
	}
}

func refusedUntouched(e *env) error {
	if e.deferred {
		return nil // it accepts a write before its store refuses it
	}
	for name, value := range unsavables() {
		fault := &faults{}
		s := e.wrapped(e.T, fault.Wrap)
		known := e.id()
		e.must(e.save(s, known, values{"k": "old"}))
		for _, id := range []string{known, e.id()} {
			before := fault.accepted()
			refusal := e.save(s, id, values{"bad": value, "k": "new"})
			if after := fault.accepted(); refusal != nil && after != before {
				return fmt.Errorf("%s was refused after %d writes to the store", name, after-before)
			}
		}
	}
	return nil
}

// refusedOrReadable reads on another node, whose memory is empty.
func refusedOrReadable(e *env) error {
	a, b := e.two()
	for name, value := range unsavables() {
		known := e.id()
		e.must(e.save(a, known, values{"k": "old"}))
		for _, id := range []string{known, e.id()} {
			refusal := e.save(a, id, values{"bad": value, "k": "new"})
			for _, s := range []gsession.Storage{b, a} {
				got, err := e.data(s, id)
				if err != nil {
					return fmt.Errorf("after %s: the session can't be read: %w", name, err)
				}
				if _, written := got["bad"]; written != (refusal == nil) {
					return fmt.Errorf("%s is written: %t, and was refused: %t", name, written, refusal != nil)
				}
			}
		}
	}
	return nil
}

// explosive panics while it is encoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("layertest: the value panics") }

func panicsAlone(e *env) error {
	s, mine := e.storage(), e.id()
	e.must(e.together(8, func(n int, id string) error {
		for round := range 5 {
			if n == 0 {
				_, _ = e.trySave(s, mine, values{"bad": explosive{}}) // its own caller may see the panic
				continue
			}
			data := values{"k": fmt.Sprint(round)}
			panicked, err := e.trySave(s, id, data)
			if err == nil && !panicked {
				err = e.expect(s, id, data)
			}
			if err != nil || panicked {
				return errors.Join(fmt.Errorf("another session's request panicked: %t", panicked), err)
			}
		}
		return nil
	}))
	e.must(s.RemoveAll(e.ctx, mine))
	if err := e.save(s, mine, values{"k": "v"}); err != nil {
		return fmt.Errorf("the session itself, afterwards: %w", err)
	}
	return e.expect(s, mine, values{"k": "v"})
}

// strangeIDs are what clients may send in place of another one's id.
func strangeIDs(safe string) []string {
	return []string{
		"../" + safe, safe + "/..", "/" + safe, "a/../" + safe, safe + "\x00", safe + "\n", "\r\n" + safe,
		"*", "secret-id-*", "?" + safe[1:], "[s]" + safe[1:], safe + " ", "ä" + safe, "\xff\xfe", strings.Repeat("x", 10<<20),
	}
}

// readsBadIDs expects that a visitor with such an id has no session.
func readsBadIDs(e *env) error {
	s := e.storage()
	for _, id := range strangeIDs(e.id()) {
		label := id[:min(len(id), 24)]
		request := e.session(s, id)
		data, err := request.Data()
		switch {
		case err != nil:
			return fmt.Errorf("reading the id %q: %w", label, err)
		case len(data) > 0:
			return fmt.Errorf("the id %q finds a session of another one", label)
		}
		if err := request.Close(); err != nil {
			return fmt.Errorf("closing what was read under the id %q: %w", label, err)
		}
		if err := s.RemoveAll(e.ctx, id); err != nil {
			return fmt.Errorf("removing the id %q: %w", label, err)
		}
	}
	return nil
}

func badIDs(e *env) error {
	s := e.storage()
	safe := e.id()
	e.must(e.save(s, safe, values{"k": "mine"}))
	for _, id := range strangeIDs(safe) {
		label := id[:min(len(id), 24)]
		found, err := e.data(s, id)
		if err == nil && len(found) > 0 {
			return fmt.Errorf("the id %q finds a session of another one", label)
		}
		if err := e.save(s, id, values{"k": "theirs"}); err != nil {
			continue // refused, and said so
		}
		if err := e.expect(s, id, values{"k": "theirs"}); err != nil {
			return fmt.Errorf("under the id %q: %w", label, err)
		}
		e.must(e.logOut(s, id))
		if err := e.expect(s, safe, values{"k": "mine"}); err != nil {
			return fmt.Errorf("after using the id %q: %w", label, err)
		}
	}
	return nil
}

func secondClose(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	steps := []values{{"a": "1"}, {"b": "2"}} // a new session, and a known one
	if !e.deferred {
		steps = append(steps, values{"n": math.NaN()}) // which equals nothing, and may be refused
	}
	for n, data := range steps {
		request := e.session(s, id)
		if err := errors.Join(request.SetMap(data), request.Close()); err != nil {
			if n == 2 {
				return nil
			}
			return err
		}
		before := fault.Writes()
		e.must(request.Close())
		if after := fault.Writes(); after != before {
			return fmt.Errorf("the second close cost %d writes", after-before)
		}
	}
	return nil
}

func survivesClose(e *env) error {
	fault := &faults{}
	s, id := e.wrapped(e.T, fault.Wrap), e.id()
	closer, ok := s.(interface{ Close(context.Context) error })
	if !ok {
		return nil
	}
	e.must(e.save(s, id, values{"k": "v"}))
	e.must(closer.Close(e.ctx))
	return e.expect(fault.Store(), id, values{"k": "v"})
}
