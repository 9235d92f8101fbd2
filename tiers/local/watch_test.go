package local_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// source is a tiers.InvalidationSource that says what a test wants. mu guards listener.
type source struct {
	mu       sync.Mutex
	listener tiers.InvalidationListener
}

func (s *source) Subscribe(l tiers.InvalidationListener) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listener = silent{}
	}
}

// silent takes the place of a listener that has gone.
type silent struct{}

func (silent) Invalidate(string)    {}
func (silent) InvalidateAll()       {}
func (silent) ValidUntil(time.Time) {}
func (silent) Unsupported(error)    {}

func (s *source) receiver() tiers.InvalidationListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

// confirm is what a source says once its channel stands.
func (s *source) confirm(lease time.Duration) {
	s.receiver().InvalidateAll()
	s.receiver().ValidUntil(time.Now().Add(lease))
}

func watched(t *testing.T, test func(t *testing.T, s *teststore.Store, from *source, l *local.Storage), opts ...local.Option) {
	t.Helper()
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.confirm(ttl)
		load(t, l, "a")
		settle()
		test(t, s, from, l)
	}, append(opts, local.Invalidation(from))...)
}

func TestNothingIsServedBeforeASourceVouches(t *testing.T) {
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 3 {
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
			want(t, load(t, l, "none"), tiers.OutcomeMiss, "k", nil)
			settle()
		}
		from.confirm(time.Minute)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		want(t, load(t, l, "none"), tiers.OutcomeMiss, "k", nil)
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		want(t, load(t, l, "none"), tiers.OutcomeNegative, "k", nil)
	}, local.Invalidation(from))
}

func TestASessionIsServedUntilItChangesWhileASourceVouches(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		time.Sleep(ttl / 2) // MaxStale is a second
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		s.Put("a", map[string]any{"k": 2}, ttl)
		from.receiver().Invalidate("another")
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		from.receiver().Invalidate("a")
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
		synctest.Wait()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
		from.receiver().InvalidateAll()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}

// The session's own expiry bounds what is vouched for (law 8).
func TestAnEntryDoesNotOutliveItsKey(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		from.receiver().ValidUntil(time.Now().Add(10 * ttl))
		time.Sleep(ttl - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
	})
}

func TestALostChannelEndsServing(t *testing.T) {
	for name, lose := range map[string]func(from *source){
		"it says so":     func(from *source) { from.receiver().ValidUntil(time.Time{}) },
		"the lease ends": func(from *source) { from.receiver().ValidUntil(time.Now().Add(time.Second)); time.Sleep(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				lose(from)
				s.Put("a", map[string]any{"k": 2}, ttl)
				for range 3 {
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
					synctest.Wait()
				}
				s.Put("a", map[string]any{"k": 3}, ttl)
				from.confirm(time.Minute)
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
				synctest.Wait()
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 3)
			})
		})
	}
}

func TestMaxStaleBoundsWithoutInvalidations(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		s.Put("a", map[string]any{"k": 2}, ttl)
		from.receiver().Unsupported(errors.New("an old server"))
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
		synctest.Wait()
		s.Put("a", map[string]any{"k": 3}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
		time.Sleep(time.Second)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
		synctest.Wait()
		from.confirm(time.Minute) // the server was replaced
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 3)
	})
}

func TestAnExclusiveTierSubscribesToNoSource(t *testing.T) {
	s, from := teststore.New(), &source{}
	below := &notifying{Store: s, source: from}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(below, local.Exclusive())
		defer l.Close(ctx)
		if from.listener != nil {
			t.Error("an exclusive tier watches the store")
		}
	})
}

// notifying is a store that is a source itself.
type notifying struct {
	*teststore.Store
	*source
}

func TestASourceBelowIsFoundAndLeft(t *testing.T) {
	s, from := teststore.New(), &source{}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(&notifying{Store: s, source: from})
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.confirm(ttl)
		load(t, l, "a")
		synctest.Wait()
		time.Sleep(time.Minute)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if from.receiver() != (silent{}) {
			t.Error("a closed tier is still notified")
		}
	})
}

// When the store is away, memory serves a session for as long as the option allows, except one that
// is known to have changed, and never past its expiry.
func TestServeStale(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		s.Put("b", map[string]any{"k": 1}, 90*time.Second)
		s.Put("c", map[string]any{"k": 1}, ttl)
		load(t, l, "b")
		load(t, l, "c")
		synctest.Wait()
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
		answers := func(id string) bool {
			short, cancel := context.WithTimeout(ctx, 11*time.Second)
			defer cancel()
			read, err := l.Load(short, id, ttl)
			if err == nil && read.Outcome != tiers.OutcomeStale {
				t.Errorf("outcome %v of a read that the store doesn't return", read.Outcome)
			}
			return err == nil
		}
		from.receiver().Invalidate("c")
		from.receiver().ValidUntil(time.Time{})
		began := time.Now()
		if !answers("a") {
			t.Error("memory doesn't serve what isn't known to have changed")
		}
		if waited := time.Since(began); waited != 100*time.Millisecond {
			t.Errorf("memory serves after %v, want a tenth of a load's time-out", waited)
		}
		if answers("c") {
			t.Error("memory serves what is known to have changed")
		}
		time.Sleep(90 * time.Second)
		if !answers("a") || answers("b") {
			t.Error("memory must serve for two minutes, and not past a session's expiry")
		}
		time.Sleep(time.Minute)
		if answers("a") {
			t.Error("memory serves past its bound")
		}
	}, local.ServeStale(2*time.Minute))
}

// A store that returns no expiry holds a session for its time to live after the last load, if nobody slides that.
func TestServeStaleEndsWithTheTimeToLiveOverAStoreWithoutExpiries(t *testing.T) {
	for name, opts := range map[string][]local.Option{"shared": nil, "exclusive": {local.Exclusive()}} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
				s.Silent = true
				s.Put("a", map[string]any{"k": 1}, ttl)
				load(t, l, "a")
				settle()
				s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
				time.Sleep(ttl - time.Second)
				want(t, load(t, l, "a"), tiers.OutcomeStale, "k", 1)
				time.Sleep(time.Second)
				if read, err := l.Load(ctx, "a", ttl); err == nil {
					t.Errorf("%v is served past the session's expiry", read.Outcome)
				}
			}, append(opts, local.ServeStale(time.Hour))...)
		})
	}
}

// Of two sources one is lost and the other goes on: what all had vouched for counts from
// the loss.
func TestServeStaleOfTwoSources(t *testing.T) {
	s, lost, other := teststore.New(), &source{}, &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		time.Sleep(10 * time.Minute)
		s.Put("a", map[string]any{"k": 1}, ttl)
		lost.confirm(ttl)
		other.confirm(ttl)
		load(t, l, "a")
		settle()
		lost.receiver().ValidUntil(time.Time{})
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
		for range 3 {
			other.receiver().ValidUntil(time.Now().Add(ttl))
			want(t, load(t, l, "a"), tiers.OutcomeStale, "k", 1) // after the 10 s of the load
		}
		time.Sleep(time.Minute)
		if read, err := l.Load(ctx, "a", ttl); err == nil {
			t.Errorf("%v is served a minute after the bound", read.Outcome)
		}
	}, local.Invalidation(lost), local.Invalidation(other), local.ServeStale(time.Minute))
}

// Sessions that this node holds stay in memory, however many invalidations of others arrive.
func TestInvalidationsOfOtherSessionsInvalidateNothing(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		const held = 500
		hits := func() (n int) {
			for id := range held {
				if load(t, l, fmt.Sprint("held ", id)).Outcome == tiers.OutcomeHit {
					n++
				}
			}
			return n
		}
		for id := range held {
			s.Put(fmt.Sprint("held ", id), map[string]any{"k": 1}, ttl)
		}
		hits()
		synctest.Wait()
		hits()
		before := hits()
		for other := range 200_000 {
			from.receiver().Invalidate(fmt.Sprint("other ", other))
		}
		if after := hits(); after < before*9/10 { // few of those held share a slot
			t.Errorf("%d of %d are still in memory", after, before)
		}
	})
}

// stubborn is a source that doesn't stop before it is released.
type stubborn struct{ release chan struct{} }

func (s stubborn) Subscribe(l tiers.InvalidationListener) (stop func()) {
	l.ValidUntil(time.Now().Add(time.Hour))
	return func() { <-s.release }
}

// A source that doesn't stop, and a store that doesn't return what is read in the background,
// hold up nobody who closes the tier.
func TestCloseReturnsByItsContext(t *testing.T) {
	for _, name := range []string{"a source", "a read behind a write", "an audit"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, from, release := teststore.New(), &source{}, make(chan struct{})
				opts := []local.Option{local.Invalidation(from), local.Audited(1)}
				if name == "a source" {
					opts = []local.Option{local.Invalidation(stubborn{release})}
				}
				l := local.New(s, opts...)
				if name != "a source" {
					from.confirm(time.Hour)
				}
				commit(t, l, "a", map[string]any{"k": 1})
				s.OnLoad = func(context.Context, string) { <-release }
				switch name {
				case "a read behind a write":
					from.receiver().Invalidate("a")
				case "an audit":
					load(t, l, "a")
				}
				synctest.Wait()
				soon, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				began := time.Now()
				if err := l.Close(soon); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close returned %v", err)
				}
				if waited := time.Since(began); waited > 2*time.Second {
					t.Errorf("Close took %v", waited)
				}
				close(release)
			})
		})
	}
}
