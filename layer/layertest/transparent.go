package layertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/gogf/gf/v2/os/gsession"
)

var transparent = []check{
	{"types", "A handler that asserts a type works on a miss and panics on a hit, or the other way round.", nothing, sameTypes},
	{"values", "A handler finds other values than the store would give it.", needsBare, sameValues},
	{"no session", "A read finds a session that isn't there, or none that is.", needsBare, sameAbsence},
	{"style", "GoFrame takes the storage for one of the other style, and writes get lost.", needsBare, sameStyle},
	{"replace", "A map that a program makes itself is merged with the session that it replaces.", needsMaps, replaces},
	{"replace a new session", "The second map that a program makes for a new session is merged with the first.", needsMaps, replacesNew},
	{"replace with the same map", "A map that a program writes again is taken for a request's second close, and changes in between stay.", needsMaps, replacesAgain},
	{"nil context", "A program without a context panics.", needsBare, withoutContext},
	{"odd keys", "A key that isn't text changes when it is saved.", needsBare, oddKeys},
	{"values that encode differently", "A value that encodes differently each time differs between nodes.", needsNodes, changingValues},
	{"regenerate", "A log-in that changes the id, as it should, loses the session.", nothing, regenerates},
}

// kinds are values of every kind that JSON has.
func kinds() values {
	return values{
		"text": "ä<b>&\u2028", "number": 12345678901234567, "fraction": 1.5, "yes": true, "nothing": nil,
		"list": []any{"a", 1, nil}, "map": values{"deep": values{"n": 1}, "empty": values{}}, "none": []any{},
	}
}

// textOnly are values that every store keeps as they are.
func textOnly() values { return values{"a": "1", "b": "text", "c": ""} }

func sameTypes(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, e.content()))
	first := e.find(s, id)
	for range 20 {
		again := e.find(s, id)
		if !reflect.DeepEqual(first, again) {
			return fmt.Errorf("a second read gives %#v after %#v", again, first)
		}
	}
	return nil
}

func sameValues(e *env) error {
	s, bare, id := e.storage(), e.bare(e.T), e.id()
	for _, storage := range []gsession.Storage{s, bare} {
		e.must(e.save(storage, id, e.content()))
	}
	want := e.find(bare, id)
	for range 3 {
		got := e.find(s, id)
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("got %#v, the bare store gives %#v", got, want)
		}
		for key := range want {
			if a, b := e.session(s, id).MustGet(key), e.session(bare, id).MustGet(key); !reflect.DeepEqual(a.Val(), b.Val()) {
				return fmt.Errorf("a key holds %#v, the bare store gives %#v", a.Val(), b.Val())
			}
		}
	}
	return nil
}

func sameAbsence(e *env) error {
	s, bare := e.storage(), e.bare(e.T)
	for range 2 {
		id := e.id()
		got, err := s.GetSession(e.ctx, id, ttl)
		if err != nil {
			return err
		}
		want, err := bare.GetSession(e.ctx, id, ttl)
		if err != nil {
			return err
		}
		if (got == nil) != (want == nil) {
			return fmt.Errorf("an unknown id gives %v, the bare store gives %v", got, want)
		}
		if err := s.RemoveAll(e.ctx, id); err != nil {
			return fmt.Errorf("removing what isn't there: %w", err)
		}
	}
	return nil
}

func sameStyle(e *env) error {
	s, bare, id := e.storage(), e.bare(e.T), e.id()
	calls := map[string]func(gsession.Storage) error{
		"Get":     func(s gsession.Storage) error { _, err := s.Get(e.ctx, id, "k"); return err },
		"Data":    func(s gsession.Storage) error { _, err := s.Data(e.ctx, id); return err },
		"GetSize": func(s gsession.Storage) error { _, err := s.GetSize(e.ctx, id); return err },
		"Set":     func(s gsession.Storage) error { return s.Set(e.ctx, id, "k", "v", ttl) },
		"SetMap":  func(s gsession.Storage) error { return s.SetMap(e.ctx, id, values{"k": "v"}, ttl) },
		"Remove":  func(s gsession.Storage) error { return s.Remove(e.ctx, id, "k") },
	}
	// A chain may make ids of its own where its store leaves that to GoFrame.
	switch made, err := s.New(e.ctx, ttl); {
	case err == nil && made == "":
		return errors.New("neither an id nor an error comes of New")
	case err != nil && !errors.Is(err, gsession.ErrorDisabled):
		return fmt.Errorf("an id of its own: %w", err)
	}
	for name, call := range calls {
		got, want := call(s), call(bare)
		if errors.Is(got, gsession.ErrorDisabled) != errors.Is(want, gsession.ErrorDisabled) {
			return fmt.Errorf("%s returns %v, the bare store %v", name, got, want)
		}
	}
	return nil
}

func replaces(e *env) error {
	s, id := e.storage(), e.id()
	return e.writeMaps(s, id, values{"a": "1", "b": "2"}, values{"b": "3"}, values{"c": "4"})
}

func replacesNew(e *env) error {
	s, id := e.storage(), e.id()
	for range 2 { // two requests that find no session
		if _, err := s.GetSession(e.ctx, id, ttl); err != nil {
			return err
		}
	}
	return e.writeMaps(s, id, values{"user": "anna", "admin": "yes"}, values{"user": "bert"}, values{"user": "carl", "cart": "a"})
}

// writeMaps writes maps of a program's own, and expects that each replaces the session.
func (e *env) writeMaps(s gsession.Storage, id string, maps ...values) error {
	for _, data := range maps {
		e.must(s.SetSession(e.ctx, id, locked(data), ttl))
		e.must(e.expect(s, id, data))
	}
	return nil
}

func replacesAgain(e *env) error {
	s, id := e.storage(), e.id()
	m := locked(values{"a": "1"})
	for range 3 {
		e.must(s.SetSession(e.ctx, id, m, ttl))
		e.must(e.expect(s, id, values{"a": "1"}))
		e.must(e.save(s, id, values{"between": "x"}))
	}
	return nil
}

func withoutContext(e *env) error {
	s, id := e.storage(), e.id()
	var none context.Context
	manager := gsession.New(ttl, s)
	for range 2 {
		request := manager.New(none, id)
		e.must(request.Set("k", "v"), request.Close())
		e.must(e.expect(s, id, values{"k": "v"}))
	}
	e.must(s.RemoveAll(none, id))
	return e.expect(s, id, values{})
}

func oddKeys(e *env) error {
	s, bare, id := e.storage(), e.bare(e.T), e.id()
	odd := values{"": "1", "\xff": "2", "a\xfe\xff": "3", "\x00": "4", " ": "5", "ä\u2028": "6", strings.Repeat("k", 300): "7"}
	if err := e.save(bare, id, odd); err != nil {
		return nil // nothing to compare with
	}
	want := e.find(bare, id)
	e.must(e.save(s, id, odd))
	for range 3 { // before a commit behind, and after it
		if err := e.expect(s, id, want); err != nil {
			return fmt.Errorf("not as the bare store: %w", err)
		}
		e.must(e.flushed(s))
	}
	return nil
}

// ticking encodes as another number each time.
type ticking struct{}

var ticks atomic.Int64

func (ticking) MarshalJSON() ([]byte, error) { return fmt.Append(nil, ticks.Add(1)), nil }

func changingValues(e *env) error {
	a, b := e.two()
	for range 3 {
		id := e.id()
		request := e.session(a, id)
		e.must(request.Set("k", ticking{}), request.Close())
		first, err := e.session(a, id).Data() // also of what isn't in the store yet
		if err != nil {
			return err
		}
		for _, s := range []gsession.Storage{a, b} {
			again := e.find(s, id)
			if len(again) != 1 || fmt.Sprint(again) != fmt.Sprint(first) {
				return fmt.Errorf("the session holds %v, and %v before", again, first)
			}
		}
	}
	return nil
}

func regenerates(e *env) error {
	for _, deleteOld := range []bool{true, false} {
		s, id := e.storage(), e.id()
		e.must(e.save(s, id, values{"user": "one"}))
		request := e.begin(s, id)
		next, err := request.RegenerateId(deleteOld)
		if err != nil {
			return err
		}
		e.must(request.Set("more", "x"))
		for range 2 {
			e.must(request.Close())
		}
		if err := e.expect(s, next, values{"user": "one", "more": "x"}); err != nil {
			return fmt.Errorf("under the new id: %w", err)
		}
		old := e.find(s, id)
		if kept := len(old) > 0; kept == deleteOld {
			return fmt.Errorf("RegenerateId(%v) left %d keys under the old id", deleteOld, len(old))
		}
	}
	return nil
}
