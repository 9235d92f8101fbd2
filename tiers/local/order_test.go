package local_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// A load that was invalidated while it was under way may still have asked the store last.
func TestAnInvalidatedLoadIsFollowedByNothingOlder(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		from.receiver().Invalidate("a")
		ask := make(chan struct{})
		s.OnLoad = onceWith(func() { <-ask })
		var first sync.WaitGroup
		first.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) })
		synctest.Wait()
		from.receiver().Invalidate("a")
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		s.Put("a", map[string]any{"k": 2}, ttl) // its invalidation is under way
		close(ask)
		first.Wait()
		if read := load(t, l, "a"); value(read) != 2 {
			t.Errorf("%v (%v) was read after 2", value(read), read.Outcome)
		}
	})
}

// onceWith has a load wait, and no later one.
func onceWith(wait func()) func(context.Context, string) {
	var once sync.Once
	return func(context.Context, string) {
		first := false
		once.Do(func() { first = true })
		if first {
			wait()
		}
	}
}

// A read in the background doesn't replace a state that a reader got meanwhile.
func TestALateReadInTheBackgroundShowsNothingOlder(t *testing.T) {
	for name, c := range map[string]struct {
		write func(s *teststore.Store)
		k     any
	}{
		"a change":  {func(s *teststore.Store) { s.Put("a", map[string]any{"k": 3}, ttl) }, 3},
		"a log-out": {func(s *teststore.Store) { s.Drop("a") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				setK(t, l, 2)
				answer := make(chan struct{})
				s.OnLoaded = onceOf(func() { <-answer })
				from.receiver().Invalidate("a")
				synctest.Wait()
				from.receiver().ValidUntil(time.Time{})
				c.write(s)
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", c.k)
				close(answer)
				synctest.Wait()
				from.receiver().ValidUntil(time.Now().Add(time.Second)) // a pong that was late
				if read := load(t, l, "a"); value(read) != c.k {
					t.Errorf("%v (%v) was read after %v", value(read), read.Outcome, c.k)
				}
			})
		})
	}
}

// When memory learns that a session is gone, an older state that may be vouched for again goes as well.
func TestAnAbsenceIsFollowedByNothingOlder(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		from.receiver().ValidUntil(time.Time{})
		s.Drop("a")
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
		from.receiver().ValidUntil(time.Now().Add(time.Hour)) // a pong that was late
		time.Sleep(2 * time.Second)                           // no absence is known for so long
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)

		s.Put("a", map[string]any{"k": 2}, ttl)
		from.receiver().ValidUntil(time.Time{})
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
		from.receiver().ValidUntil(time.Now().Add(time.Hour))
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
	})
}

// Another node's write may have shortened the time to live alone.
func TestAReadInTheBackgroundUpdatesTheExpiry(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		setK(t, l, 2)
		if _, err := s.Slide(ctx, "a", ttl/10); err != nil {
			t.Fatal(err)
		}
		from.receiver().Invalidate("a")
		readAgain()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
		time.Sleep(ttl / 10)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
	})
}

// held is a store whose slides and loads end when the test says so.
type held struct {
	*teststore.Store
	slide chan struct{}
}

func (h *held) Slide(ctx context.Context, id string, life time.Duration) (time.Time, error) {
	at, err := h.Store.Slide(ctx, id, life)
	<-h.slide
	return at, err
}

// whatCameAfter are another node's writes right after one of this node.
var whatCameAfter = map[string]struct {
	write func(s *teststore.Store)
	k     any
}{
	"a change":              {func(s *teststore.Store) { s.Put("a", map[string]any{"k": 3}, ttl) }, 3},
	"a log-out":             {func(s *teststore.Store) { s.Drop("a") }, nil},
	"nothing":               {func(s *teststore.Store) {}, 2},
	"a change and one back": {func(s *teststore.Store) { s.Put("a", map[string]any{"k": 1}, ttl) }, 1},
}

// The answer of an own write that comes late puts no state back that is older than what
// was read meanwhile; where that was the write's own, it stays in memory.
func TestALateCommitShowsNothingOlder(t *testing.T) {
	for name, c := range whatCameAfter {
		for when, notified := range map[string]bool{"notified": true, "notified later": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
					slow := slowly(s)
					delta := changed(t, l, 2)
					answer := make(chan struct{})
					s.OnCommit = func(context.Context, string) error { <-answer; return nil }
					var writing sync.WaitGroup
					writing.Go(func() {
						if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
					c.write(s)
					if notified {
						from.receiver().Invalidate("a")
					} else {
						from.receiver().InvalidateAll() // so that the next read asks the store
					}
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", c.k)
					slow.Store(true)
					close(answer)
					writing.Wait()
					read := load(t, l, "a")
					if k := value(read); k != c.k {
						t.Errorf("%v was read after %v", k, c.k)
					}
					if name == "nothing" && notified && read.Outcome != tiers.OutcomeHit {
						t.Errorf("a write that nobody has overtaken is a %v", read.Outcome)
					}
				})
			})
		}
	}
}

// slowly has the store's loads take their time from when it is set.
func slowly(s *teststore.Store) *atomic.Bool {
	var slow atomic.Bool
	s.OnLoad = func(context.Context, string) {
		if slow.Load() {
			time.Sleep(50 * time.Millisecond)
		}
	}
	return &slow
}

func value(r tiers.Read) any {
	if r.Snapshot == nil {
		return nil
	}
	return r.Snapshot.Get("k")
}

// A load may also have read a later state, and end after the write has returned.
func TestALateLoadIsFollowedByNothingOlder(t *testing.T) {
	for name, c := range whatCameAfter {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				slow := slowly(s)
				delta := changed(t, l, 2)
				var reading sync.WaitGroup
				answer := make(chan struct{})
				s.OnLoaded = onceOf(func() { <-answer })
				s.OnCommit = func(context.Context, string) error {
					c.write(s)
					from.receiver().Invalidate("a")
					reading.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", c.k) })
					synctest.Wait()
					return nil
				}
				if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
					t.Fatal(err)
				}
				slow.Store(true)
				close(answer)
				reading.Wait()
				read := load(t, l, "a")
				if k := value(read); k != c.k {
					t.Errorf("%v was read after %v", k, c.k)
				}
				if name == "nothing" && read.Outcome != tiers.OutcomeHit {
					t.Errorf("a write that nobody has overtaken is a %v", read.Outcome)
				}
			})
		})
	}
}

// A slide doesn't revive an entry that was invalidated while it was under way.
func TestALateSlideShowsNothingOlder(t *testing.T) {
	for name, c := range whatCameAfter {
		for when, early := range map[string]bool{"read before the answer": true, "read across it": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				s, from := &held{Store: teststore.New()}, &source{}
				synctest.Test(t, func(t *testing.T) {
					s.slide = make(chan struct{})
					l := local.New(s, local.Invalidation(from))
					defer l.Close(ctx)
					s.Put("a", map[string]any{"k": 2}, ttl)
					from.confirm(2 * ttl)
					slow := slowly(s.Store)
					load(t, l, "a")
					time.Sleep(ttl / 2)
					loaded := make(chan struct{})
					var sliding, reading sync.WaitGroup
					sliding.Go(func() {
						if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
					c.write(s.Store)
					from.receiver().Invalidate("a")
					if !early {
						s.OnLoaded = onceOf(func() { <-loaded })
					}
					reading.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", c.k) })
					synctest.Wait()
					slow.Store(true)
					close(s.slide)
					sliding.Wait()
					close(loaded)
					reading.Wait()
					if k := value(load(t, l, "a")); k != c.k {
						t.Errorf("%v was read after %v", k, c.k)
					}
				})
			})
		}
	}
}

// A state that is read again after a write isn't shown while another write is under way.
func TestALateCommitShowsNothingOlderThanWhatWasReadAgain(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		slow := slowly(s)
		setK(t, l, 2)
		var before any
		s.OnCommit = func(context.Context, string) error {
			s.Put("a", map[string]any{"k": 9}, ttl) // right after the commit
			from.receiver().Invalidate("a")
			synctest.Wait() // it is read again
			before = value(load(t, l, "a"))
			slow.Store(true)
			return nil
		}
		setK(t, l, 3)
		if after := value(load(t, l, "a")); before == 9 && after == 3 {
			t.Errorf("%v was read after %v", after, before)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 9)
	})
}

// feed is a CommitFeed that says what a test wants.
type feed struct {
	*teststore.Store
	cache tiers.CommitListener
}

func (a *feed) Follow(c tiers.CommitListener) (stop func()) {
	a.cache = c
	return func() {}
}

// A layer that commits later shows readers the state to which it adds its changes, and publishes the
// result of a commit later: that may be older.
func TestALatePublishedCommitShowsNothingOlder(t *testing.T) {
	for name, c := range map[string]struct {
		shown, became map[string]any
		accepted      map[string]any // a change meanwhile
		want          any
	}{
		"a change came between":          {map[string]any{"k": 3, "own": 1}, map[string]any{"k": 2, "own": 1}, nil, nil},
		"nothing came between":           {map[string]any{"k": 2, "own": 1}, map[string]any{"k": 2, "own": 1}, nil, 2},
		"a change of ours":               {map[string]any{"k": 2, "own": 1}, map[string]any{"k": 2, "own": 2}, map[string]any{"k": 2, "own": 2}, 2},
		"a change, and one of ours":      {map[string]any{"k": 3, "own": 1}, map[string]any{"k": 2, "own": 2}, map[string]any{"k": 3, "own": 2}, nil},
		"what it was laid over was gone": {nil, map[string]any{"k": 2, "own": 1}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			below, from := &feed{Store: teststore.New()}, &source{}
			synctest.Test(t, func(t *testing.T) {
				l := local.New(below, local.Invalidation(from))
				defer l.Close(ctx)
				from.confirm(ttl)
				below.OnLoad = func(context.Context, string) { time.Sleep(50 * time.Millisecond) } // also behind
				below.Put("a", map[string]any{"k": "store"}, ttl)
				commit := below.cache.Begin("a")
				from.receiver().Invalidate("a")
				read := below.cache.Begin("a")
				done := func(token uint64, data map[string]any, at time.Time) {
					var state *tiers.Snapshot
					if data != nil {
						state = tiers.Adopt(data).Expiring(time.Now().Add(ttl)).ReadAt(at).AsPublished()
					}
					below.cache.Done("a", ttl, token, state)
				}
				at := time.Now()
				done(read, c.shown, at)
				if c.accepted != nil {
					below.cache.Accept("a", ttl, tiers.Adopt(c.accepted).Expiring(time.Now().Add(ttl)).ReadAt(at).AsPublished())
				}
				done(commit, c.became, time.Now())
				if c.want == nil {
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", "store")
				} else {
					want(t, load(t, l, "a"), tiers.OutcomeHit, "k", c.want)
				}
			})
		})
	}
}

// moments is a feed that says when it has read.
type moments struct{ *feed }

func (m moments) Load(ctx context.Context, id string, life time.Duration) (tiers.Read, error) {
	began := time.Now()
	read, err := m.feed.Load(ctx, id, life)
	if read.Snapshot != nil {
		read.Snapshot = read.Snapshot.ReadAt(began)
	}
	return read, err
}

// A change that was made of a state is shown as one of the same state that was read again since,
// and not of another.
func TestAPreviewStaysWhenTheSameStateIsReadAgain(t *testing.T) {
	for name, k := range map[string]any{"the same": 1, "another state": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below := &feed{Store: teststore.New()}
				l := local.New(moments{below})
				defer l.Close(ctx)
				below.Put("a", map[string]any{"k": 1}, ttl)
				base := load(t, l, "a").Snapshot
				time.Sleep(time.Second) // MaxStale
				below.Put("a", map[string]any{"k": k}, ttl)
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", k)
				below.cache.Accept("a", ttl, tiers.Adopt(map[string]any{"k": 1, "own": 1}).ReadAt(base.Read()).AsPublished())
				if k == 1 {
					want(t, load(t, l, "a"), tiers.OutcomeHit, "own", 1)
				} else {
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", k)
				}
			})
		})
	}
}

// A removal by this node counts as well, although an invalidation came before it.
func TestALateCommitShowsNothingThatWasRemoved(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		for name, remove := range map[string]bool{"removed": true, "notified twice": false} {
			s.Put("a", map[string]any{"k": 1}, ttl)
			from.receiver().InvalidateAll()
			s.OnCommit = func(context.Context, string) error {
				from.receiver().Invalidate("a")
				from.receiver().Invalidate("a")
				if remove {
					return l.RemoveAll(ctx, "a")
				}
				return nil
			}
			setK(t, l, 2)
			if remove {
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
			} else if read := load(t, l, "a"); read.Outcome != tiers.OutcomeHit {
				t.Errorf("%s: a %v after an own write", name, read.Outcome)
			}
		}
	})
}
