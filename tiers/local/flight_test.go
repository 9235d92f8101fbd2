package local_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

func TestOverlappingReadsShareOneLoad(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1) })
		}
		settle()
		close(release)
		group.Wait()
		if loads, _, _ := s.Count(); loads != 1 {
			t.Errorf("%d loads for 50 readers, want 1", loads)
		}
	})
}

// A reader that comes after a write must not get what a reader before it asked for.
func TestAReadAfterAWriteDoesNotShareTheFlightBeforeIt(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		loaded, release := make(chan struct{}), make(chan struct{})
		s.OnLoaded = onceOf(func() { close(loaded); <-release })
		go l.Load(ctx, "a", ttl)
		<-loaded
		s.Put("a", map[string]any{"k": 2}, ttl)
		if err := l.RemoveAll(ctx, "other"); err != nil {
			t.Fatal(err)
		}
		commit(t, l, "a", map[string]any{"k": 3})
		if r := load(t, l, "a"); r.Snapshot.Get("k") != 3 {
			t.Errorf("got %v, want 3", r.Snapshot.Get("k"))
		}
		close(release)
	})
}

// A load that waits for a slow network may return a state that the store held long ago: a later reader
// joins it only if every change of the session would have been noticed.
func TestAReadJoinsNoLoadOfLongAgo(t *testing.T) {
	for name, c := range map[string]struct {
		opts  []local.Option
		vouch func(from *source)
		waits time.Duration
		want  int
	}{
		"vouched for":      {nil, func(from *source) { from.confirm(time.Minute) }, 5 * time.Second, 1},
		"nobody vouches":   {nil, func(from *source) { from.confirm(time.Millisecond) }, 51 * time.Millisecond, 2},
		"just before":      {nil, func(from *source) { from.confirm(time.Millisecond) }, 50 * time.Millisecond, 1},
		"MaxStale":         {[]local.Option{local.MaxStale(time.Second)}, nil, time.Second, 1},
		"beyond MaxStale":  {[]local.Option{local.MaxStale(time.Second)}, nil, time.Second + 1, 2},
		"MaxStale of zero": {[]local.Option{local.MaxStale(0)}, nil, 51 * time.Millisecond, 2},
		"exclusive":        {[]local.Option{local.Exclusive()}, nil, 5 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, from := teststore.New(), &source{}
			opts := c.opts
			if c.vouch != nil {
				opts = []local.Option{local.Invalidation(from)}
			}
			bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
				s.Put("a", map[string]any{"k": 1}, ttl)
				if c.vouch != nil {
					c.vouch(from)
				}
				answer := make(chan struct{})
				s.OnLoaded = onceOf(func() { <-answer })
				var first sync.WaitGroup
				first.Go(func() { load(t, l, "a") })
				time.Sleep(c.waits)
				s.Put("a", map[string]any{"k": 2}, ttl) // without an invalidation
				var second sync.WaitGroup
				second.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", c.want) })
				synctest.Wait()
				close(answer)
				first.Wait()
				second.Wait()
				if c.want == 2 && c.waits > time.Second {
					settle()
					if got := load(t, l, "a").Snapshot.Get("k"); got != 2 {
						t.Errorf("the late answer has replaced the other: %v", got)
					}
				}
			}, append(opts, local.LoadTimeout(10*time.Second))...)
		})
	}
}

// The store drops a session without a notification when it expires.
func TestAReaderOfAnExpiredSessionIsNotGivenWhatAnEarlierLoadFound(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Second/4)
		answer := make(chan struct{})
		s.OnLoaded = func(string) { <-answer }
		var reading sync.WaitGroup
		reading.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1) })
		time.Sleep(time.Second / 4)
		for range 10 {
			reading.Go(func() {
				if read := load(t, l, "a"); read.Snapshot != nil {
					t.Errorf("%v was read after it had expired", value(read))
				}
			})
			time.Sleep(time.Millisecond)
		}
		answer <- struct{}{}
		synctest.Wait() // until all of them wait for the next load
		close(answer)
		reading.Wait()
		want(t, load(t, l, "a"), tiers.OutcomeNegative, "", nil)
		if loads, _, _ := s.Count(); loads != 2 {
			t.Errorf("%d loads", loads)
		}
	})
}

func TestACallerThatGoesAwayDoesNotEndTheLoad(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		impatient, cancel := context.WithCancel(ctx)
		failed := make(chan error)
		go func() {
			_, err := l.Load(impatient, "a", ttl)
			failed <- err
		}()
		settle()
		patient := make(chan tiers.Read)
		go func() { patient <- load(t, l, "a") }()
		settle()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		close(release)
		want(t, <-patient, tiers.OutcomeMiss, "k", 1)
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	})
}

// A store that never returns, and ignores its context, must not hold readers up.
func TestAHungStoreIsGivenUp(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s)
		s.Put("a", map[string]any{"k": 1}, ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		began := time.Now()
		if _, err := l.Load(ctx, "a", ttl); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want context.DeadlineExceeded", err)
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %v, want 1 s", waited)
		}
		synctest.Wait()
		s.OnLoad = nil
		if r := load(t, l, "a"); r.Snapshot == nil {
			t.Error("the next reader still waits for the hung load")
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := l.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v although a load was under way", err)
		}
		close(release)
	})
}

func TestAPanicOfTheStoreIsTheCallers(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		s.OnLoad = func(context.Context, string) { panic("store") }
		func() {
			defer func() {
				if recover() != "store" {
					t.Error("the panic didn't reach the caller")
				}
			}()
			l.Load(ctx, "a", ttl)
		}()
		s.OnLoad = nil
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
	})
}

func TestCloseWhileCallsRun(t *testing.T) {
	s := teststore.New()
	l := local.New(s, local.LoadTimeout(time.Minute))
	commit(t, l, "a", map[string]any{"k": 1})
	var group sync.WaitGroup
	started := make(chan struct{}, 8)
	done := make(chan struct{})
	for range 8 {
		group.Go(func() {
			for n := 0; ; n++ {
				if n == 50 {
					started <- struct{}{}
				}
				select {
				case <-done:
					return
				default:
				}
				if r, err := l.Load(ctx, "a", ttl); err != nil || r.Snapshot == nil {
					t.Errorf("read %v, %v while the tier was closed", r, err)
					return
				}
				commit(t, l, "a", map[string]any{"k": 1})
			}
		})
	}
	for range 8 {
		<-started
	}
	for range 2 {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	close(done)
	group.Wait()
	before, _, _ := s.Count()
	load(t, l, "a")
	if after, _, _ := s.Count(); after != before+1 {
		t.Error("a closed tier should leave reads to the store")
	}
}

func TestCloseWaitsForLoads(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s)
		s.Put("a", map[string]any{"k": 1}, ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		go l.Load(ctx, "a", ttl)
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- l.Close(ctx) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while a load was under way")
		default:
		}
		close(release)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// Of two loads that overlap while nobody vouches, the one that began first may have asked last.
func TestOverlappingLoadsKeepNeitherState(t *testing.T) {
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.confirm(time.Millisecond)
		ask := make(chan struct{})
		var once sync.Once
		s.OnLoad = func(context.Context, string) {
			wait := false
			once.Do(func() { wait = true })
			if wait {
				<-ask // the first is stuck on its way to the store
			}
		}
		var first sync.WaitGroup
		first.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) })
		synctest.Wait()
		time.Sleep(60 * time.Millisecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1) // the second
		s.Put("a", map[string]any{"k": 2}, ttl)             // its invalidation is under way
		close(ask)
		first.Wait() // shows 2
		settle()
		from.receiver().ValidUntil(time.Now().Add(time.Second)) // a pong that was late
		if r := load(t, l, "a"); value(r) != 2 {
			t.Errorf("%v (%v) was read after 2", value(r), r.Outcome)
		}
	}, local.Invalidation(from))
}

// Nor the one that ended last.
func TestALateLoadReplacesNothingThatOverlapped(t *testing.T) {
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.confirm(time.Millisecond)
		answer := make(chan struct{})
		s.OnLoaded = onceOf(func() { <-answer })
		var first sync.WaitGroup
		first.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1) })
		synctest.Wait()
		time.Sleep(60 * time.Millisecond)
		s.Put("a", map[string]any{"k": 2}, ttl) // its invalidation is under way
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
		close(answer)
		first.Wait()
		settle()
		from.receiver().ValidUntil(time.Now().Add(time.Second)) // a pong that was late
		if r := load(t, l, "a"); value(r) != 2 {
			t.Errorf("%v (%v) was read after 2", value(r), r.Outcome)
		}
	}, local.Invalidation(from))
}

// A load is joined by nobody who comes after another one has returned, as it may have asked the
// store before that.
func TestALoadThatAnotherHasOvertakenIsNotJoined(t *testing.T) {
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.confirm(time.Millisecond)
		ask, answer := make(chan struct{}), make(chan struct{})
		s.OnLoad = onceWith(func() { <-ask })
		s.OnLoaded = onceOf(func() { <-answer })
		var first, second, third sync.WaitGroup
		first.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) })
		synctest.Wait()
		time.Sleep(60 * time.Millisecond)
		second.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1) })
		synctest.Wait()
		s.Put("a", map[string]any{"k": 2}, ttl)
		close(ask)
		first.Wait()
		third.Go(func() { want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) })
		synctest.Wait()
		close(answer)
		second.Wait()
		third.Wait()
	}, local.Invalidation(from))
}
