package sessionmap

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// stale is a layer that serves what it loaded first until a commit changes it, as a
// cache does that isn't notified of other nodes' writes.
type stale struct {
	*core
	kept map[string]tiers.Read
}

func (s *stale) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if read, ok := s.kept[id]; ok {
		return read, nil
	}
	read, err := s.core.Load(ctx, id, ttl)
	s.kept[id] = read
	return read, err
}

func (s *stale) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if !delta.Empty() {
		delete(s.kept, id)
	}
	_, err := s.core.Commit(ctx, id, delta, ttl)
	return nil, err
}

// A demotion on another node of which this node's cache wasn't notified must not be
// undone by taking the session to another id.
func TestRegenerateIDCarriesWhatTheStoreHolds(t *testing.T) {
	for name, deleteOld := range map[string]bool{"and deletes": true, "and keeps": false} {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			f := &front{Maps: New(&stale{core: c, kept: map[string]tiers.Read{}}), core: c}
			c.put(id, values{"role": "admin", "cart": "a"})
			session := gsession.New(ttl, f).New(t.Context(), id)
			session.MustSet("cart", "b")
			c.put(id, values{"role": "guest", "cart": "a", "more": 1})
			next, err := session.RegenerateId(deleteOld)
			if err != nil {
				t.Fatal(err)
			}
			wantData(t, c.holds(next), values{"role": "guest", "cart": "b", "more": 1})
			session.MustSet("cart", "c")
			if err := session.Close(); err != nil {
				t.Fatal(err)
			}
			wantData(t, c.holds(next), values{"role": "guest", "cart": "c", "more": 1})
			if !deleteOld {
				wantData(t, c.holds(id), values{"role": "guest", "cart": "a", "more": 1})
			}
		})
	}
}

// Two requests that begin on an empty session: what one wrote goes with the other.
func TestRegenerateIDOfAnEmptySessionCarriesWhatOthersWrote(t *testing.T) {
	c := newCore()
	c.put(id, values{})
	f := newFront(c)
	m := f.get(t, id)
	c.put(id, values{"cart": "a"})
	m.Set("user", "one")
	f.set(t, "session-2", m)
	wantData(t, c.holds("session-2"), values{"user": "one", "cart": "a"})
}

func TestRemovedSessionIsNotCarried(t *testing.T) {
	removals := map[string]func(f *front){
		"here":      func(f *front) { _ = f.RemoveAll(context.Background(), id) },
		"elsewhere": func(f *front) { _ = f.core.RemoveAll(context.Background(), id) },
		"and made anew": func(f *front) {
			_ = f.RemoveAll(context.Background(), id)
			f.core.put(id, values{"user": "two"})
		},
		"by an older node": func(f *front) { f.core.put(id, values{}) },
	}
	for name, remove := range removals {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			c.put(id, values{"user": "one"})
			f := &front{Maps: New(&stale{core: c, kept: map[string]tiers.Read{}}), core: c}
			m := f.get(t, id)
			remove(f)
			m.Set("cart", "a")
			wantRevoked(t, f.SetSession(t.Context(), "session-2", m, ttl))
			wantData(t, c.holds("session-2"), nil)
		})
	}
}

// A map from which a program fills many sessions belongs to none of them.
func TestTemplateCarriesNobodysSession(t *testing.T) {
	c := newCore()
	f := newFront(c)
	template := locked(values{"theme": "dark"})
	f.set(t, id, template)
	c.put(id, values{"theme": "dark", "user": "one"})
	f.set(t, "session-2", template)
	wantData(t, c.holds("session-2"), values{"theme": "dark"})
	wantData(t, c.holds(id), values{"theme": "dark", "user": "one"})
}

// A map that another chain handed out is no change of a session of this one's: it is
// all there is, as for a program that moves sessions from one store to another.
func TestMapOfAnotherFaceIsWrittenWhole(t *testing.T) {
	from, to := newFront(newCore()), newFront(newCore())
	from.core.put(id, values{"user": "one"})
	m := from.get(t, id)
	to.set(t, id, m)
	wantData(t, to.core.holds(id), values{"user": "one"})
	m.Set("cart", "a")
	from.core.put(id, values{"user": "one", "more": 1})
	to.set(t, id, m)
	from.set(t, id, m)
	wantData(t, to.core.holds(id), values{"user": "one", "cart": "a"})
	wantData(t, from.core.holds(id), values{"user": "one", "cart": "a", "more": 1})
}

// A log-out, on this node or another one, that returns while the session is on its way to
// another id; and a store that can't say any more.
func TestSessionThatIsRemovedWhileItIsCarriedIsRemovedThereAsWell(t *testing.T) {
	away := errors.New("away")
	for where, remove := range map[string]func(f *front) error{
		"here":      func(f *front) error { return f.RemoveAll(context.Background(), id) },
		"elsewhere": func(f *front) error { return f.core.RemoveAll(context.Background(), id) },
		"by an older node, which leaves an empty one": func(f *front) error {
			f.core.put(id, values{})
			return nil
		},
		"nobody knows": func(*front) error { return nil },
	} {
		for name, data := range map[string]values{"change": {"user": "two"}, "none": {}} {
			t.Run(where+", "+name, func(t *testing.T) {
				c := newCore()
				c.put(id, values{"user": "one"})
				f := newFront(c)
				m := f.get(t, id)
				m.Sets(data)
				want := error(tiers.ErrRevoked)
				written := false
				c.before = func(to string) {
					switch {
					case to == "session-2":
						written = true
						if err := remove(f); err != nil {
							t.Error(err)
						}
					case written && where == "nobody knows":
						want, c.fail = away, away
					}
				}
				if err := f.SetSession(t.Context(), "session-2", m, ttl); !errors.Is(err, want) {
					t.Errorf("SetSession = %v, want %v", err, want)
				}
				wantData(t, c.holds("session-2"), nil)
			})
		}
	}
}

// A plain store is asked without being written to: between its read and its write another
// process may log the user out.
func TestLookingAtAPlainStoreWritesNothing(t *testing.T) {
	b := newBlobs()
	f := New(Adapt(b))
	if err := f.SetSession(t.Context(), id, locked(values{"user": "one"}), ttl); err != nil {
		t.Fatal(err)
	}
	m, err := f.GetSession(t.Context(), id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	before := b.wrote[id]
	if err := f.SetSession(t.Context(), "session-2", m, ttl); err != nil {
		t.Fatal(err)
	}
	if n := b.wrote[id] - before; n != 0 {
		t.Errorf("the old id was written %d times", n)
	}
}

// turns does something before the call of the store with the given number.
type turns struct {
	*core
	calls, at int
	do        func()
}

func (s *turns) next() {
	if s.calls++; s.calls == s.at {
		s.do()
	}
}

func (s *turns) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	s.next()
	return s.core.Load(ctx, id, ttl)
}

func (s *turns) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	s.next()
	return s.core.Commit(ctx, id, delta, ttl)
}

func (s *turns) RemoveAll(ctx context.Context, id string) error {
	s.next()
	return s.core.RemoveAll(ctx, id)
}

// At whatever moment of a log-in another node commits under the old id: its change goes on
// under the new one, or is refused. If it logs out, the log-in fails and nothing lives on.
func TestNothingIsLostWhileTheIDChanges(t *testing.T) {
	others := map[string]func(m *gmap.StrAnyMap){
		"sets a key":    func(m *gmap.StrAnyMap) { m.Set("cart", "full") },
		"changes a key": func(m *gmap.StrAnyMap) { m.Set("theme", "dark") },
		"removes a key": func(m *gmap.StrAnyMap) { m.Remove("theme") },
		"logs in too":   func(m *gmap.StrAnyMap) { m.Set("user", "another user") },
		"logs out":      nil,
	}
	for name, change := range others {
		t.Run(name, func(t *testing.T) {
			carried, refused := 0, 0
			for at := 2; ; at++ { // the first is the load of the request
				c := newCore()
				c.put(id, values{"theme": "light", "kept": 1})
				other := newFront(c)
				theirs := other.get(t, id)
				var err error
				store := &turns{core: c, at: at, do: func() {
					if change == nil {
						err = other.RemoveAll(t.Context(), id)
						return
					}
					change(theirs)
					err = other.SetSession(t.Context(), id, theirs, ttl)
				}}
				f := &moving{front: &front{Maps: New(store), core: c}}
				session := gsession.New(ttl, f).New(t.Context(), id)
				session.MustSet("user", "ann")
				next, logInErr := session.RegenerateId(true)
				if store.calls < at {
					if carried == 0 || refused == 0 {
						t.Errorf("%d changes were carried, %d refused: some of each are expected", carried, refused)
					}
					return
				}
				want := values{"theme": "light", "kept": 1, "user": "ann"}
				if change == nil {
					if logInErr != nil {
						refused++
						want = nil
					} else {
						carried++ // the log-out came when nothing was left to end
						if at < store.calls {
							t.Errorf("call %d of %d: another request logged out, and the log-in didn't fail", at, store.calls)
						}
					}
				} else {
					if logInErr != nil {
						t.Fatalf("call %d: %v", at, logInErr)
					}
					switch {
					case errors.Is(err, tiers.ErrRevoked):
						refused++
					case err != nil:
						t.Fatal(err)
					default:
						carried++
						changed := gmap.NewStrAnyMapFrom(want)
						if change(changed); name == "logs in too" {
							changed.Set("user", "ann") // of the request that changes the id
						}
						want = changed.Map()
					}
				}
				wantData(t, c.holds(next), want)
				wantData(t, c.holds(id), nil)
				if t.Failed() {
					t.Fatalf("at call %d", at)
				}
			}
		})
	}
}

// moving is a front whose log-outs are the maps' own, as a chain's are.
type moving struct{ *front }

func (m *moving) RemoveAll(ctx context.Context, id string) error { return m.Maps.RemoveAll(ctx, id) }
