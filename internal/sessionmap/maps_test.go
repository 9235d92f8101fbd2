package sessionmap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

func TestOverlappingRequestsKeepEachOthersKeys(t *testing.T) {
	c := newCore()
	c.put(id, values{"a": 0, "b": 0, "c": 0})
	f := newFront(c)
	one, two := f.get(t, id), f.get(t, id)
	one.Set("a", 1)
	one.Remove("c")
	two.Set("b", 2)
	two.Set("d", 2)
	f.set(t, id, one)
	f.set(t, id, two)
	wantData(t, c.holds(id), values{"a": 1, "b": 2, "d": 2})
}

func TestManyOverlappingRequestsLoseNothing(t *testing.T) {
	c := newCore()
	c.put(id, values{"start": true})
	f := newFront(c)
	manager := gsession.New(ttl, f)
	var all sync.WaitGroup
	want := values{"start": true}
	for n := range 8 {
		for round := range 20 {
			want[fmt.Sprint(n, "-", round)] = round
		}
		all.Go(func() {
			for round := range 20 {
				session := manager.New(t.Context(), id)
				session.MustSet(fmt.Sprint(n, "-", round), round)
				if err := session.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantData(t, c.holds(id), want)
}

func TestNestedChangeIsCommitted(t *testing.T) {
	c := newCore()
	c.put(id, values{"cart": values{"items": []any{"a"}}, "other": 1})
	f := newFront(c)
	m := f.get(t, id)
	m.Get("cart").(values)["items"].([]any)[0] = "b"
	wantData(t, c.holds(id), values{"cart": values{"items": []any{"a"}}, "other": 1})
	c.put(id, values{"cart": values{"items": []any{"a"}}, "other": 2})
	f.set(t, id, m)
	wantData(t, c.holds(id), values{"cart": values{"items": []any{"b"}}, "other": 2})
}

// A change that is made while a commit is under way wasn't committed: the next close does it.
func TestChangeDuringACommitIsLeftToTheNext(t *testing.T) {
	c := newCore()
	c.put(id, values{"items": []any{"a"}})
	f := newFront(c)
	m := f.get(t, id)
	m.Get("items").([]any)[0] = "b"
	c.before = func(string) { m.Get("items").([]any)[0] = "c" }
	f.set(t, id, m)
	c.before = nil
	wantData(t, c.holds(id), values{"items": []any{"b"}})
	f.set(t, id, m)
	wantData(t, c.holds(id), values{"items": []any{"c"}})
}

// GoFrame closes a session twice where middleware has closed it first.
func TestSecondCloseCostsNothingForAMoment(t *testing.T) {
	for name, begin := range map[string]func(f *front){
		"of a session that was loaded": func(f *front) { f.core.put(id, values{"a": 0}) },
		"of a session that was made":   func(*front) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCore()
				f := newFront(c)
				begin(f)
				s := f.session(t, id, values{"a": 1})
				closed(t, s)
				closed(t, s)
				if n := c.commitCount(); n != 1 {
					t.Fatalf("%d commits after two closes, want 1", n)
				}
				time.Sleep(closeGrace - 1)
				closed(t, s)
				if n := c.commitCount(); n != 1 {
					t.Fatalf("%d commits within the grace, want 1", n)
				}
				time.Sleep(time.Nanosecond)
				closed(t, s)
				if n := c.commitCount(); n != 2 {
					t.Fatalf("%d commits after the grace, want 2: the expiry must slide", n)
				}
				if !c.commits[1].Empty() {
					t.Error("the late close of an unchanged session writes data")
				}
			})
		})
	}
}

func TestSecondCloseOfAShortSessionSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		s := gsession.New(time.Second, newFront(c)).New(t.Context(), id)
		s.MustSet("a", 1)
		for _, wait := range []time.Duration{9 * time.Millisecond, time.Millisecond} {
			closed(t, s)
			time.Sleep(wait)
		}
		if n := c.commitCount(); n != 1 {
			t.Fatalf("%d commits within a hundredth of ttl, want 1", n)
		}
		closed(t, s)
		if n := c.commitCount(); n != 2 {
			t.Fatalf("%d commits after a hundredth of ttl, want 2", n)
		}
	})
}

// The session of a visitor without a cookie: nobody asks the store for it first.
func TestSecondCloseOfANewID(t *testing.T) {
	c := newCore()
	s := gsession.New(ttl, newFront(c)).New(t.Context())
	s.MustSet("user", "ann")
	closed(t, s)
	c.put(s.MustId(), values{"user": "ann", "cart": "a"}) // the visitor's next request is faster
	closed(t, s)
	wantData(t, c.holds(s.MustId()), values{"user": "ann", "cart": "a"})
	if n := c.commitCount(); n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
}

// A close that changed nothing loses nothing when the session is gone. A change that is
// refused is reported, and once: as often as it is closed after that, no store is asked.
func TestSecondCloseAfterALogOut(t *testing.T) {
	for where, remove := range map[string]func(f *front){
		"here":      func(f *front) { _ = f.RemoveAll(context.Background(), id) },
		"elsewhere": func(f *front) { _ = f.core.RemoveAll(context.Background(), id) },
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCore()
				f := newFront(c)
				c.put(id, values{"user": "ann"})
				saved, unchanged, lost := f.session(t, id, values{"k": 1}), f.get(t, id), f.session(t, id, values{"late": 1})
				closed(t, saved)
				remove(f)
				closed(t, saved)
				time.Sleep(2 * closeGrace)
				closed(t, saved)
				f.set(t, id, unchanged)
				err := lost.Close()
				wantRevoked(t, err)
				if RefusedBefore(err) {
					t.Error("the first refusal counts as reported")
				}
				c.fail = errors.New("asked")
				for range 2 {
					err := lost.Close()
					wantRevoked(t, err)
					if !RefusedBefore(err) {
						t.Errorf("the same close is refused anew: %v", err)
					}
				}
				c.fail = nil
				lost.MustSet("later", 1)
				err = lost.Close()
				wantRevoked(t, err)
				if RefusedBefore(err) {
					t.Error("another change is lost, and isn't reported")
				}
				wantData(t, c.holds(id), nil)
			})
		})
	}
}

// GoFrame's second close doesn't write what a commit left out, as that could overwrite something
// newer.
func TestSecondCloseAfterAConflict(t *testing.T) {
	c := newCore()
	f := newFront(c)
	c.put(id, values{"k": 0})
	s := f.session(t, id, values{"k": 1})
	c.fail = tiers.ErrConflict
	if err := s.Close(); !errors.Is(err, tiers.ErrConflict) || RefusedBefore(err) {
		t.Fatalf("Close = %v", err)
	}
	c.fail = nil
	c.put(id, values{"k": 2})
	if err := s.Close(); !errors.Is(err, tiers.ErrConflict) || !RefusedBefore(err) {
		t.Errorf("the second Close = %v", err)
	}
	wantData(t, c.holds(id), values{"k": 2})
}

func TestUnchangedFirstCloseSlides(t *testing.T) {
	c := newCore()
	c.put(id, values{"a": 1})
	f := newFront(c)
	f.set(t, id, f.get(t, id))
	if c.commitCount() != 1 || !c.commits[0].Empty() {
		t.Error("the first close of an unchanged session must slide the expiry, and write nothing")
	}
}

// A map that the Session made is followed from its first close on.
func TestSecondCloseOfAMadeMapIsADelta(t *testing.T) {
	c := newCore()
	f := newFront(c)
	s := f.session(t, id, values{"a": 1})
	closed(t, s)
	c.put(id, values{"a": 1, "other": 1})
	s.MustSet("b", 2)
	closed(t, s)
	wantData(t, c.holds(id), values{"a": 1, "b": 2, "other": 1})
	s.MustRemove("a")
	closed(t, s)
	wantData(t, c.holds(id), values{"b": 2, "other": 1})
}

func TestRequestsThatCreateAtOnceAreMerged(t *testing.T) {
	c := newCore()
	f := newFront(c)
	one, two := f.session(t, id, values{"a": 1}), f.session(t, id, values{"b": 2})
	closed(t, one)
	closed(t, two)
	wantData(t, c.holds(id), values{"a": 1, "b": 2})
	f.set(t, id, locked(values{"c": 3}))
	wantData(t, c.holds(id), values{"c": 3})
}

// A program that calls the storage itself replaces the session each time, whatever reads have
// returned before, and with the same map again: as over the bare store.
func TestMapsOfAProgramReplace(t *testing.T) {
	c := newCore()
	f := newFront(c)
	for range 2 {
		if m, err := f.GetSession(t.Context(), id, ttl); m != nil || err != nil {
			t.Fatalf("GetSession = %v, %v; want no session", m, err)
		}
	}
	first := locked(values{"user": "anna", "admin": true})
	for _, m := range []*gmap.StrAnyMap{first, locked(values{"user": "bert"}), first} {
		f.set(t, id, m)
		wantData(t, c.holds(id), m.Map())
	}
	f.set(t, id, locked(values{}))
	wantData(t, c.holds(id), values{})
}

func TestRemoveAllThenCloseLeavesNothing(t *testing.T) {
	for name, begin := range map[string]func(*core){
		"of a session":            func(c *core) { c.put(id, values{"a": 1}) },
		"of an empty session":     func(c *core) { c.put(id, values{}) },
		"where there was none":    func(*core) {},
		"where one was made anew": func(c *core) { c.put(id, values{"a": 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			begin(c)
			session := gsession.New(ttl, newFront(c)).New(t.Context(), id)
			session.MustSet("b", 1)
			if name == "where one was made anew" {
				if err := session.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := session.RemoveAll(); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := session.Close(); err != nil {
						t.Fatal(err)
					}
				}
				wantData(t, c.holds(id), nil)
			}
		})
	}
}

func TestLogOutEndsTheRequestsThatLoadedBefore(t *testing.T) {
	c := newCore()
	c.put(id, values{"user": "one"})
	f := newFront(c)
	old, unchanged, letGo := f.get(t, id), f.get(t, id), f.get(t, id)
	old.Set("cart", "a")
	letGo.Remove("user")
	letGo.Set("theme", "dark")
	if err := f.RemoveAll(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, f.SetSession(t.Context(), id, old, ttl))
	f.set(t, id, unchanged)
	wantData(t, c.holds(id), nil)

	// The next log-in has the same id; the old requests stay what they were.
	f.set(t, id, locked(values{"user": "two"}))
	wantRevoked(t, f.SetSession(t.Context(), id, old, ttl))
	f.set(t, id, unchanged)
	wantData(t, c.holds(id), values{"user": "two"})

	// One that let go of all that it was given joins what is there.
	f.set(t, id, letGo)
	wantData(t, c.holds(id), values{"user": "two", "theme": "dark"})

	// Requests of the new session aren't affected.
	m := f.get(t, id)
	m.Set("cart", "b")
	f.set(t, id, m)
	wantData(t, c.holds(id), values{"user": "two", "theme": "dark", "cart": "b"})
}

func TestExpiredOrRemotelyRemovedSessionIsRevoked(t *testing.T) {
	c := newCore()
	f := newFront(c)
	for name, gone := range map[string]func(){
		"removed": func() { _ = c.RemoveAll(t.Context(), id) },
		"emptied": func() { c.put(id, values{}) },
	} {
		t.Run(name, func(t *testing.T) {
			c.put(id, values{"user": "one"})
			m := f.get(t, id)
			c.put(id, nil)
			made := f.session(t, id, values{"user": "one"})
			closed(t, made)
			gone()
			m.Set("a", 1)
			made.MustSet("a", 1)
			wantRevoked(t, f.SetSession(t.Context(), id, m, ttl))
			wantRevoked(t, made.Close())
			if data := c.holds(id); len(data) > 0 {
				t.Errorf("data = %v, want none", data)
			}
		})
	}
}

func TestFailedCloseIsRepeated(t *testing.T) {
	c := newCore()
	c.put(id, values{"a": 1})
	f := newFront(c)
	m, made := f.get(t, id), locked(values{"b": 1})
	m.Set("a", 2)
	c.fail = errors.New("down")
	for _, m := range []*gmap.StrAnyMap{m, made} {
		if err := f.SetSession(t.Context(), id, m, ttl); !errors.Is(err, c.fail) {
			t.Fatalf("SetSession = %v, want the store's error", err)
		}
	}
	c.fail = nil
	c.put(id, values{"a": 1, "other": 1})
	f.set(t, id, m)
	wantData(t, c.holds(id), values{"a": 2, "other": 1})
	made.Set("c", 1)
	f.set(t, id, made)
	wantData(t, c.holds(id), values{"b": 1, "c": 1})
}

func TestMapWithoutALockReplaces(t *testing.T) {
	c := newCore()
	f := newFront(c)
	m := gmap.NewStrAnyMapFrom(values{"a": 1})
	f.set(t, id, m)
	c.put(id, values{"a": 1, "b": 2})
	f.set(t, id, m)
	wantData(t, c.holds(id), values{"a": 1})
}

func TestNilMapIsRefused(t *testing.T) {
	f := newFront(newCore())
	if err := f.SetSession(t.Context(), id, nil, ttl); err == nil {
		t.Error("SetSession of a nil map succeeded")
	}
	if f.Marked(nil) != "" {
		t.Error("a nil map is marked")
	}
	f.set(t, id, &gmap.StrAnyMap{})
	wantData(t, f.core.holds(id), values{})
}

func TestHandedOutValuesAreNotShared(t *testing.T) {
	c := newCore()
	f := newFront(c)
	list := []any{"a"}
	m := locked(values{"list": list})
	f.set(t, id, m)
	list[0] = "b"
	wantData(t, c.holds(id), values{"list": []any{"a"}})
	f.get(t, id).Get("list").([]any)[0] = "c"
	wantData(t, f.get(t, id).Map(), values{"list": []any{"a"}})
}

// A write that replaces a session by an empty one isn't the close after a RemoveAll once the
// session has been written anew.
func TestEmptyReplacementOfARevivedSessionIsWritten(t *testing.T) {
	c := newCore()
	f := newFront(c)
	f.set(t, id, locked(values{"a": 1}))
	if err := f.RemoveAll(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.set(t, id, locked(values{"b": 2}))
	f.set(t, id, locked(values{}))
	wantData(t, c.holds(id), values{})
}

// A request passes the check for removals, and before the store applies its change the
// user logs out and another user logs in under the same id.
func TestLogOutAndLogInWhileAChangeIsOnItsWay(t *testing.T) {
	c := newCore()
	c.put(id, values{"user": "one"})
	f := newFront(c)
	m := f.get(t, id)
	m.Set("role", "admin")
	overtaken := false
	c.before = func(string) {
		if overtaken {
			return
		}
		overtaken = true
		if err := f.RemoveAll(t.Context(), id); err != nil {
			t.Error(err)
		}
		f.set(t, id, locked(values{"user": "two"}))
	}
	wantRevoked(t, f.SetSession(t.Context(), id, m, ttl))
	wantData(t, c.holds(id), values{"user": "two"})
}

// slowLoad runs during once, after it was asked and before it looks.
type slowLoad struct {
	*core
	during func()
}

func (s *slowLoad) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if during := s.during; during != nil {
		s.during = nil
		during()
	}
	return s.core.Load(ctx, id, ttl)
}

// A request that asked before a log-out, and was given the log-in that followed it, is a
// request of that log-in.
func TestALoadThatOverlapsALogOutIsOfTheLaterLogIn(t *testing.T) {
	store := &slowLoad{core: newCore()}
	f := New(store)
	ctx := context.Background()
	put := func(data values) {
		t.Helper()
		if err := f.SetSession(ctx, id, gmap.NewStrAnyMapFrom(data, true), ttl); err != nil {
			t.Fatal(err)
		}
	}
	put(values{"user": "anna"})
	if _, err := f.GetSession(ctx, id, ttl); err != nil { // a request holds it
		t.Fatal(err)
	}
	store.during = func() {
		if err := store.RemoveAll(ctx, id); err != nil {
			t.Error(err)
		}
		f.Removed(id)
		put(values{"user": "bert"})
	}
	m, err := f.GetSession(ctx, id, ttl)
	if err != nil || m.Get("user") != "bert" {
		t.Fatalf("%v, %v", m, err)
	}
	m.Set("late", "1")
	if err := f.SetSession(ctx, id, m, ttl); err != nil {
		t.Errorf("a change of the later log-in: %v", err)
	}
	if now := store.sessions[id].Map(); now["user"] != "bert" || now["late"] != "1" {
		t.Errorf("the session is %v", now)
	}
}

// busy is a value whose copy uses the session that it is in.
type busy struct {
	m    *gmap.StrAnyMap
	name string
}

func (b *busy) DeepCopy() any {
	b.m.Set("copied", b.name)
	return &busy{b.m, b.name}
}

// A value's own code runs outside the map's lock, which it may need.
func TestAValueMayUseItsSessionWhenItIsCopied(t *testing.T) {
	c := newCore()
	c.put(id, values{"a": 1})
	f := newFront(c)
	m := f.get(t, id)
	m.Set("busy", &busy{m, "x"})
	ended := make(chan error, 1)
	go func() { ended <- f.SetSession(context.Background(), id, m, ttl) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the close waits for the map's lock, which it holds itself")
	}
	wantData(t, m.MapCopy(), values{"a": 1, "busy": m.Get("busy"), "copied": "x"})
}

// The key that a chain hides stays with the session as long as the request keeps something of it.
func TestAHiddenKeyStaysUntilTheSessionIsCleared(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(m *gmap.StrAnyMap)
		want   values
	}{
		"nothing":             {func(*gmap.StrAnyMap) {}, values{"a": 1, "b": 2, "hidden": "h"}},
		"one key removed":     {func(m *gmap.StrAnyMap) { m.Remove("b") }, values{"a": 1, "hidden": "h"}},
		"all keys changed":    {func(m *gmap.StrAnyMap) { m.Sets(values{"a": 3, "b": 3}) }, values{"a": 3, "b": 3, "hidden": "h"}},
		"replaced by another": {func(m *gmap.StrAnyMap) { m.Replace(values{"c": 1}) }, values{"c": 1}},
		"set by the request":  {func(m *gmap.StrAnyMap) { m.Set("hidden", "another") }, values{"a": 1, "b": 2, "hidden": "h"}},
		"set and cleared":     {func(m *gmap.StrAnyMap) { m.Replace(values{"hidden": "another", "c": 1}) }, values{"c": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			c.put(id, values{"a": 1, "b": 2, "hidden": "h"})
			f := newFront(c)
			f.Hide("hidden")
			m := f.get(t, id)
			if m.Contains("hidden") {
				t.Error("the request is shown the hidden key")
			}
			tt.change(m)
			f.set(t, id, m)
			wantData(t, c.holds(id), tt.want)
			f.set(t, id, m)
			wantData(t, c.holds(id), tt.want)
		})
	}
}
