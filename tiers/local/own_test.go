package local_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// changed is what a request commits that was given what the session is now.
func changed(t *testing.T, l *local.Storage, value any) *tiers.Delta {
	t.Helper()
	delta, err := tiers.Diff(load(t, l, "a").Snapshot, map[string]any{"k": value})
	if err != nil {
		t.Fatal(err)
	}
	return delta
}

// rereadWithin is how long an own write is served after an invalidation.
const rereadWithin = 100 * time.Millisecond

// setK commits it.
func setK(t *testing.T, l *local.Storage, value any) {
	t.Helper()
	if _, err := l.Commit(ctx, "a", changed(t, l, value), ttl); err != nil {
		t.Fatal(err)
	}
}

// readAgain returns when sessions with an invalidation have been read again.
func readAgain() {
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
}

// A node's own write stays in memory, whether its invalidation comes after the commit's reply or before,
// and is read again in the background.
func TestOwnWritesStayInMemoryAfterTheirInvalidation(t *testing.T) {
	for name, early := range map[string]bool{"notified after the reply": false, "notified before the reply": true} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				if early {
					s.OnCommit = func(_ context.Context, id string) error { from.receiver().Invalidate(id); return nil }
				}
				for n := 2; n < 6; n++ {
					setK(t, l, n)
					want(t, load(t, l, "a"), tiers.OutcomeHit, "k", n)
					if !early {
						from.receiver().Invalidate("a")
					}
					want(t, load(t, l, "a"), tiers.OutcomeHit, "k", n)
					readAgain()
					want(t, load(t, l, "a"), tiers.OutcomeHit, "k", n)
				}
				if loads, _, _ := s.Count(); loads != 1+4 {
					t.Errorf("%d loads, want the first and one behind each write", loads)
				}
				// An invalidation that comes now isn't about an own write.
				time.Sleep(time.Second)
				s.Put("a", map[string]any{"k": 9}, ttl)
				from.receiver().Invalidate("a")
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 9)
			})
		})
	}
}

// One invalidation may stand for an own write and another node's after it.
func TestAnInvalidationOfAnOwnWriteMayBeAnotherNodes(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		setK(t, l, 2)
		s.Put("a", map[string]any{"k": 3}, ttl)
		from.receiver().Invalidate("a")
		readAgain()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 3)

		setK(t, l, 4)
		from.receiver().Invalidate("a")
		s.Drop("a") // another node's log-out, and its invalidation
		from.receiver().Invalidate("a")
		readAgain()
		if read := load(t, l, "a"); read.Snapshot != nil { // the first of the two may have shown that already
			t.Errorf("%v after a log-out", read.Outcome)
		}

		s.Put("a", map[string]any{"k": 5}, ttl)
		from.receiver().Invalidate("a")
		setK(t, l, 6)
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() } // nothing can be read
		for range 4 {
			from.receiver().Invalidate("a")
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if read, err := l.Load(short, "a", ttl); err == nil {
			t.Errorf("after more invalidations than an own write has, %v is served", read.Snapshot)
		}
	})
}

// While it is read again, the state is served for a while only, though the store doesn't
// return, and though it is another session's turn.
func TestAnOwnWriteThatIsNotReadAgainIsInvalidatedInTime(t *testing.T) {
	for name, order := range map[string][]string{"at once": {"a"}, "behind another": {"other", "a"}} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				commit(t, l, "other", map[string]any{"k": 1})
				setK(t, l, 2)
				s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
				for _, id := range order {
					time.Sleep(60 * time.Millisecond)
					from.receiver().Invalidate(id)
					synctest.Wait()
				}
				time.Sleep(100*time.Millisecond - 1)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
				time.Sleep(time.Nanosecond)
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if read, err := l.Load(short, "a", ttl); err == nil {
					t.Errorf("served %v though the store doesn't respond", read.Snapshot)
				}
			})
		})
	}
}

// It isn't served longer than the sources had vouched when its invalidation came, whatever they vouch
// since: so another write with the same invalidation is seen within the lease.
func TestAnOwnWriteThatIsNotReadAgainIsNotServedBeyondTheLease(t *testing.T) {
	for name, early := range map[string]bool{"notified after the reply": false, "notified before the reply": true} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				notify := func() {
					from.receiver().ValidUntil(time.Now().Add(30 * time.Millisecond))
					from.receiver().Invalidate("a")
					from.receiver().ValidUntil(time.Now().Add(time.Hour))
				}
				s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
				if early {
					s.OnCommit = func(context.Context, string) error { notify(); return nil }
				}
				setK(t, l, 2)
				if !early {
					notify()
				}
				time.Sleep(30*time.Millisecond - 1)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
				time.Sleep(time.Nanosecond)
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				if read, err := l.Load(short, "a", ttl); err == nil {
					t.Errorf("served with outcome %v though the store doesn't respond", read.Outcome)
				}
			})
		})
	}
}

// It isn't served either if a read that began before the invalidation returns the same state.
func TestAnEarlierReadDoesNotMakeUpForTheOneBehind(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		setK(t, l, 2)
		from.receiver().ValidUntil(time.Time{})
		answer := make(chan struct{})
		s.OnLoaded = onceOf(func() { <-answer })
		var reading sync.WaitGroup
		reading.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) })
		synctest.Wait()
		s.Put("a", map[string]any{"k": 3}, ttl)
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
		from.receiver().ValidUntil(time.Now().Add(time.Hour))
		from.receiver().Invalidate("a")
		close(answer)
		reading.Wait()
		time.Sleep(100 * time.Millisecond)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if read, err := l.Load(short, "a", ttl); err == nil {
			t.Errorf("%v is a %v though its invalidation has arrived, and it was not read again", value(read), read.Outcome)
		}
	})
}

// away is a store that returns an error for one read at a time, and nothing for several.
type away struct{ *teststore.Store }

func (a away) Load(context.Context, string, time.Duration) (tiers.Read, error) {
	return tiers.Read{}, errors.New("away")
}

func (a away) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	<-ctx.Done()
	return make([]tiers.Reloaded, len(loads))
}

// It may have changed, so that ServeStale doesn't hold for it.
func TestAnOwnWriteThatIsNotReadAgainIsNotServedStale(t *testing.T) {
	s, from := away{teststore.New()}, &source{}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, local.Invalidation(from), local.ServeStale(time.Minute))
		defer l.Close(ctx)
		from.confirm(ttl)
		commit(t, l, "a", map[string]any{"k": 1})
		commit(t, l, "b", map[string]any{"k": 1})
		from.receiver().Invalidate("a")
		synctest.Wait()
		from.receiver().ValidUntil(time.Time{})
		want(t, load(t, l, "b"), tiers.OutcomeStale, "k", 1)
		time.Sleep(100 * time.Millisecond)
		want(t, load(t, l, "b"), tiers.OutcomeStale, "k", 1)
		if read, err := l.Load(ctx, "a", ttl); err == nil {
			t.Errorf("served with outcome %v", read.Outcome)
		}
	})
}

// Redis notifies of EXPIRE as of any change.
func TestOwnSlidesStayInMemoryAfterTheirInvalidation(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		time.Sleep(ttl / 2)
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		from.receiver().Invalidate("a")
		synctest.Wait()
		time.Sleep(ttl * 3 / 4)
		from.receiver().ValidUntil(time.Now().Add(ttl))
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	})
}

// One that comes early, while the state of the write before is still waiting for its own.
func TestAnInvalidationDuringAWriteMayBeAnotherNodes(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		setK(t, l, 2)
		s.OnCommit = func(context.Context, string) error {
			s.Put("a", map[string]any{"k": 9}, ttl) // right after the commit
			from.receiver().Invalidate("a")
			return nil
		}
		setK(t, l, 3)
		readAgain()
		read := load(t, l, "a")
		want(t, read, read.Outcome, "k", 9)
	})
}

// The next write returns what another node wrote before it, so that nothing is read meanwhile; but an
// invalidation that comes during the write may be about a later one.
func TestASessionIsNotReadAgainWhileItIsWritten(t *testing.T) {
	for name, during := range map[string]bool{"invalidated before": false, "invalidated before and during": true} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				commit(t, l, "other", map[string]any{"k": 1})
				setK(t, l, 2)
				next, begun, end := changed(t, l, 3), make(chan struct{}), make(chan struct{})
				from.receiver().Invalidate("other")
				synctest.Wait() // it has been read again, and there is a pause
				from.receiver().Invalidate("a")
				s.OnCommit = func(context.Context, string) error { close(begun); <-end; return nil }
				written := make(chan error, 1)
				go func() { _, err := l.Commit(ctx, "a", next, ttl); written <- err }()
				<-begun
				loads, _, _ := s.Count()
				if during {
					s.Put("a", map[string]any{"k": 4}, ttl)
					from.receiver().Invalidate("a")
				}
				readAgain()
				if now, _, _ := s.Count(); now != loads {
					t.Errorf("%d reads during the write", now-loads)
				}
				close(end)
				if err := <-written; err != nil {
					t.Fatal(err)
				}
				readAgain()
				k, reads := 3, loads
				if during {
					k, reads = 4, loads+1
				}
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", k)
				if now, _, _ := s.Count(); now != reads {
					t.Errorf("%d reads after the write, want %d", now-loads, reads-loads)
				}
			})
		})
	}
}

// sliding is a store whose slides end as a test wants it.
type sliding struct {
	*teststore.Store
	slide func() (time.Time, error)
}

func (s *sliding) Slide(context.Context, string, time.Duration) (time.Time, error) { return s.slide() }

// A slide shows no state, so that the session is read again after it.
func TestASessionIsReadAgainAfterASlide(t *testing.T) {
	for name, ends := range map[string]func(before time.Time) (time.Time, error){
		"that set another expiry": func(before time.Time) (time.Time, error) { return before.Add(ttl), nil },
		"that set the same":       func(before time.Time) (time.Time, error) { return before, nil },
		"that failed":             func(time.Time) (time.Time, error) { return time.Time{}, errors.New("no") },
	} {
		t.Run(name, func(t *testing.T) {
			s, from := &sliding{Store: teststore.New()}, &source{}
			synctest.Test(t, func(t *testing.T) {
				l := local.New(s, local.Invalidation(from))
				defer l.Close(ctx)
				from.confirm(ttl)
				commit(t, l, "other", map[string]any{"k": 1})
				commit(t, l, "a", map[string]any{"k": 1})
				from.receiver().Invalidate("other")
				synctest.Wait() // it has been read again, and there is a pause
				before, begun, end := s.Expires("a"), make(chan struct{}), make(chan struct{})
				s.slide = func() (time.Time, error) { close(begun); <-end; return ends(before) }
				s.Put("a", map[string]any{"k": 2}, ttl)
				from.receiver().Invalidate("a")
				go func() { _, _ = l.Slide(ctx, "a", 2*ttl) }()
				<-begun
				loads, _, _ := s.Count()
				readAgain()
				if now, _, _ := s.Count(); now != loads {
					t.Errorf("%d reads during the slide", now-loads)
				}
				close(end)
				readAgain()
				time.Sleep(time.Second)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
				if now, _, _ := s.Count(); now != loads+1 {
					t.Errorf("%d reads after the slide, want one", now-loads)
				}
			})
		})
	}
}

// A slide that fails after a state may no longer be served leaves the session to be kept by its next load.
func TestASessionIsKeptAgainAfterALongSlide(t *testing.T) {
	s, from := &sliding{Store: teststore.New()}, &source{}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, local.Invalidation(from))
		defer l.Close(ctx)
		from.confirm(time.Hour)
		commit(t, l, "a", map[string]any{"k": 1})
		begun, end, slid := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		s.slide = func() (time.Time, error) { close(begun); <-end; return time.Time{}, errors.New("no") }
		go func() { _, err := l.Slide(ctx, "a", 2*ttl); slid <- err }()
		<-begun
		from.receiver().Invalidate("a")
		time.Sleep(200 * time.Millisecond)
		close(end)
		if err := <-slid; err == nil {
			t.Error("the slide returns nil")
		}
		readAgain()
		load(t, l, "a")
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	})
}

// reloading is a store that reads several sessions together. mu guards reads and known.
type reloading struct {
	*teststore.Store
	mu    sync.Mutex
	reads []int // sessions of each
	known int   // of them with what they were
}

func (r *reloading) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	results := make([]tiers.Reloaded, len(loads))
	r.mu.Lock()
	r.reads = append(r.reads, len(loads))
	r.mu.Unlock()
	for n, l := range loads {
		if l.Known.Get("k") == n {
			r.known++
		}
		results[n].Read, results[n].Err = r.Load(ctx, l.ID, l.TTL)
	}
	return results
}

// Writes whose invalidations come while others are read again are read together.
func TestOwnWritesAreReadAgainTogether(t *testing.T) {
	const sessions = 12
	s, from := &reloading{Store: teststore.New()}, &source{}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, local.Invalidation(from), local.GuardSlots(1<<22)) // hardly two share one
		defer l.Close(ctx)
		from.confirm(ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		commit(t, l, "first", map[string]any{"k": 0})
		from.receiver().Invalidate("first")
		synctest.Wait()
		for n := range sessions {
			commit(t, l, fmt.Sprint(n), map[string]any{"k": n})
			synctest.Wait() // ristretto takes it
			from.receiver().Invalidate(fmt.Sprint(n))
		}
		for n := range sessions / 3 {
			s.Put(fmt.Sprint(n), map[string]any{"k": -1}, ttl) // another node, just before
		}
		close(release)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.reads) != 2 || s.reads[1] != sessions {
			t.Errorf("reads of %v sessions, want all that wait in one", s.reads)
		}
		if s.known != sessions+1 {
			t.Errorf("%d of %d were read with what they were known to be", s.known, sessions+1)
		}
		for n := range sessions {
			k := n
			if n < sessions/3 {
				k = -1
			}
			want(t, load(t, l, fmt.Sprint(n)), tiers.OutcomeHit, "k", k)
		}
	})
}

// A session is read from memory right after its first commit, though ristretto takes a new
// key some time later, and though its invalidation came in between.
func TestANewSessionIsInMemoryAtOnce(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		loads, _, _ := s.Count()
		answer := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-answer }
		const sessions = 500
		for n := range sessions {
			id := fmt.Sprint("new", n)
			commit(t, l, id, map[string]any{"k": n})
			want(t, load(t, l, id), tiers.OutcomeHit, "k", n)
			from.receiver().Invalidate(id)
			want(t, load(t, l, id), tiers.OutcomeHit, "k", n)
			answer <- struct{}{} // the read in the background; a reader may miss while it is put in place
			readAgain()
			want(t, load(t, l, id), tiers.OutcomeHit, "k", n)
		}
		if now, _, _ := s.Count(); now != loads+sessions {
			t.Errorf("%d loads, want one behind each commit", now-loads)
		}
	})
}

// short is a layer above the circuits that reads sessions together and loses results.
type short struct {
	tiers.Base
	circuits *circuit.Store
}

func (s short) Circuits() *circuit.Store { return s.circuits }

func (s short) Reloads() bool { return true }

func (s short) LoadAll(context.Context, []tiers.Reload) []tiers.Reloaded { return nil }

// A layer that gives no result costs a read, and neither the session nor the process.
func TestAnOwnWriteWithoutAResultIsInvalidated(t *testing.T) {
	s, from := teststore.New(), &source{}
	synctest.Test(t, func(t *testing.T) {
		below, circuits := circuit.Over(s)
		l := local.New(short{tiers.Base{Storage: below}, circuits}, local.Invalidation(from))
		defer l.Close(ctx)
		from.confirm(ttl)
		commit(t, l, "a", map[string]any{"k": 1})
		from.receiver().Invalidate("a")
		readAgain()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	})
}

// A reader that comes after an invalidation doesn't share a load that began before it, though that may be about an own write.
func TestAReadAfterADoubtfulInvalidationSharesNoEarlierLoad(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		setK(t, l, 2)
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() } // the state isn't read again
		from.receiver().Invalidate("a")
		synctest.Wait()
		time.Sleep(rereadWithin)
		answer := make(chan struct{})
		s.OnLoad, s.OnLoaded = nil, onceOf(func() { <-answer })
		var readers sync.WaitGroup
		readers.Go(func() { load(t, l, "a") })
		synctest.Wait()
		s.Put("a", map[string]any{"k": 3}, ttl) // by another node
		from.receiver().Invalidate("a")
		time.Sleep(rereadWithin)
		readers.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3) })
		synctest.Wait()
		close(answer)
		readers.Wait()
	}, local.LoadTimeout(10*time.Second))
}

// A load that finds another state while an own write is read again doesn't leave what it has found unserved.
func TestAStateThatALoadFindsDuringAReadInTheBackgroundIsServed(t *testing.T) {
	for name, fails := range map[string]bool{"read": false, "not read": true} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				setK(t, l, 2)
				answer := make(chan struct{})
				s.OnLoad = func(ctx context.Context, _ string) {
					if fails {
						<-ctx.Done()
						return
					}
					<-answer
				}
				from.receiver().Invalidate("a")
				synctest.Wait()
				time.Sleep(rereadWithin)
				s.OnLoad = nil
				s.Put("a", map[string]any{"k": 3}, ttl) // by another node
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
				close(answer)
				time.Sleep(2 * time.Second)
				load(t, l, "a")
				synctest.Wait()
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 3)
			})
		})
	}
}
