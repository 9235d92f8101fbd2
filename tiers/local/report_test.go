package local_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// wantCounts compares what was counted since the test began.
func wantCounts(t *testing.T, l *local.Storage, want map[telemetry.Count]int64) {
	t.Helper()
	for count, n := range want {
		if got := l.Tally().Total(count); got != n {
			t.Errorf("count %d is %d, want %d", count, got, n)
		}
	}
}

func gauges(l *local.Storage) map[telemetry.Gauge]float64 {
	all := map[telemetry.Gauge]float64{}
	l.Gauges(func(g telemetry.Gauge, value float64) { all[g] = value })
	return all
}

func TestReadsAreCountedByOutcome(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		load(t, l, "a")
		load(t, l, "none")
		synctest.Wait()
		load(t, l, "none")
		from.receiver().Invalidate("a")
		load(t, l, "a")
		synctest.Wait()
		from.receiver().ValidUntil(time.Time{})
		load(t, l, "a")
		from.receiver().InvalidateAll()
		from.receiver().ValidUntil(time.Now().Add(2 * ttl))
		load(t, l, "a")
		synctest.Wait()
		time.Sleep(ttl)
		load(t, l, "a") // gone
		wantCounts(t, l, map[telemetry.Count]int64{
			telemetry.ReadHit: 1, telemetry.ReadNegative: 1, telemetry.ReadMiss: 6, telemetry.Loads: 6,
			telemetry.RefusedInvalidated: 2, telemetry.RefusedUnvouched: 1, telemetry.RefusedExpired: 1,
			telemetry.InvalidatedByStore: 1, telemetry.InvalidatedByLoss: 1, telemetry.WatchLosses: 1,
			telemetry.InvalidatedByWrite: 0, telemetry.ReadStale: 0,
		})
	})
}

// When a source first vouches, no loss is counted; a removal of all sessions counts as an invalidation, and a loss
// once, however often the source reports it.
func TestOnlyLossesAreCountedAsSuch(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		want := func(what string, losses, byLoss, byStore int64) {
			t.Helper()
			for count, n := range map[telemetry.Count]int64{
				telemetry.WatchLosses: losses, telemetry.InvalidatedByLoss: byLoss, telemetry.InvalidatedByStore: byStore,
			} {
				if got := l.Tally().Total(count); got != n {
					t.Errorf("%s: count %d is %d, want %d", what, count, got, n)
				}
			}
		}
		want("the first stand", 0, 0, 0)
		from.confirm(ttl)
		want("all sessions were removed", 0, 0, 1)
		from.receiver().ValidUntil(time.Time{})
		from.receiver().ValidUntil(time.Time{})
		want("a loss", 1, 0, 1)
		from.confirm(ttl)
		want("it stands again", 1, 1, 1)
		from.receiver().ValidUntil(time.Now().Add(2 * ttl))
		want("it stands", 1, 1, 1)
		from.receiver().Unsupported(errors.New("secret"))
		want("it can't notify any more", 1, 2, 1)
	})
}

// Each read has one outcome: the ratios of a team's dashboard must hold in an outage.
func TestEachReadIsCountedOnce(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Hour)
		load(t, l, "a")
		settle()
		load(t, l, "a")
		load(t, l, "none")
		load(t, l, "none")
		time.Sleep(time.Second) // MaxStale
		s.OnLoad = func(context.Context, string) { panic("away") }
		func() {
			defer func() { _ = recover() }()
			_, _ = l.Load(ctx, "b", ttl)
		}()
		s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() }
		for range 3 {
			if read := load(t, l, "a"); read.Outcome != tiers.OutcomeStale {
				t.Fatalf("outcome %v, want stale", read.Outcome)
			}
		}
		if _, err := l.Load(ctx, "b", ttl); err == nil {
			t.Error("the store isn't away")
		}
		wantCounts(t, l, map[telemetry.Count]int64{
			telemetry.ReadHit: 1, telemetry.ReadNegative: 1, telemetry.ReadMiss: 4, telemetry.ReadStale: 3,
		})
	}, local.ServeStale(time.Hour))
}

// With room to spare nothing is rejected, though a session that is set twice before the
// cache has taken it is said to be.
func TestAnUpdateIsNoRejection(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		for n := range 200 {
			id := fmt.Sprint(n)
			for v := range 3 {
				commit(t, l, id, map[string]any{"k": v})
			}
		}
		settle()
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.RejectedByPolicy: 0, telemetry.Evictions: 0})
	}, local.Exclusive())
}

func TestSharedLoadsAreCounted(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { load(t, l, "a") })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.ReadMiss: 10, telemetry.Loads: 1, telemetry.SharedReads: 9})
	})
}

func TestOwnWritesAreCounted(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		commit(t, l, "a", map[string]any{"k": 2})
		from.receiver().Invalidate("a") // of its own write
		synctest.Wait()
		if err := l.RemoveAll(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, l, map[telemetry.Count]int64{
			telemetry.InvalidatedByWrite: 2, telemetry.InvalidatedByOwnWrite: 0, telemetry.InvalidatedByStore: 0,
			telemetry.Loads: 2,
		})
	})
}

// After its invalidation an own write is served for a while, until it is read again; if it can't be
// read, it is invalidated.
func TestReadsAfterOwnWritesAreCounted(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		commit(t, l, "a", map[string]any{"k": 2})
		var held atomic.Bool
		s.OnLoad = func(ctx context.Context, _ string) {
			if held.CompareAndSwap(false, true) {
				<-ctx.Done() // of the read in the background, which takes a second
			}
		}
		from.receiver().Invalidate("a")
		synctest.Wait()
		if read := load(t, l, "a"); read.Outcome != tiers.OutcomeHit {
			t.Errorf("outcome %v while it is read again, want hit", read.Outcome)
		}
		time.Sleep(200 * time.Millisecond)
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.RefusedUnread: 0, telemetry.InvalidatedByOwnWrite: 0})
		load(t, l, "a")
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.RefusedUnread: 1, telemetry.InvalidatedByOwnWrite: 0})
		time.Sleep(time.Second)
		synctest.Wait()
		wantCounts(t, l, map[telemetry.Count]int64{
			telemetry.InvalidatedByOwnWrite: 1, telemetry.InvalidatedByWrite: 1, telemetry.InvalidatedByStore: 0,
			telemetry.RefusedInvalidated: 0, telemetry.RefusedExpired: 0, telemetry.RefusedUnvouched: 0,
		})
	})
}

func TestSlidesAreCounted(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl/2)
		slide := func() {
			t.Helper()
			if _, err := l.Slide(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
		}
		slide() // not in memory
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.SlideSent: 1, telemetry.SlideSkipped: 0})
		load(t, l, "a")
		settle()
		time.Sleep(time.Millisecond)
		slide()
		slide()
		wantCounts(t, l, map[telemetry.Count]int64{telemetry.SlideSent: 2, telemetry.SlideSkipped: 1})
	}, local.Exclusive())
}

func TestMemoryIsMeasured(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		if g := gauges(l); g[telemetry.Sessions] != 0 || g[telemetry.MemoryUsage] != 0 || g[telemetry.MemoryLimit] != 64<<10 {
			t.Errorf("an empty tier holds %v", g)
		}
		const many = 1000 // more than there is room for
		for n := range many {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": 1}, ttl)
			load(t, l, id)
			settle()
			load(t, l, id)
		}
		held := 0
		for n := range many {
			if load(t, l, fmt.Sprint(n)).Outcome == tiers.OutcomeHit {
				held++
			}
		}
		settle()
		g := gauges(l)
		gone := l.Tally().Total(telemetry.Evictions) + l.Tally().Total(telemetry.RejectedByPolicy)
		if g[telemetry.Sessions] < float64(held)/2 || g[telemetry.Sessions] > many/2 || gone == 0 {
			t.Errorf("%v sessions are said to be held, %d were found; %d were evicted or rejected", g[telemetry.Sessions], held, gone)
		}
		if used := g[telemetry.MemoryUsage]; used < 32<<10 || used > 64<<10 {
			t.Errorf("%v bytes are used of 65,536", used)
		}
	}, local.MaxBytes(64<<10))
}

func TestTheChannelIsReported(t *testing.T) {
	state := func(l *local.Storage) [2]float64 {
		g := gauges(l)
		return [2]float64{g[telemetry.WatchConnected], g[telemetry.WatchUnsupported]}
	}
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		for _, step := range []struct {
			what string
			do   func()
			want [2]float64
		}{
			{"before it stands", func() {}, [2]float64{0, 0}},
			{"vouched for", func() { from.confirm(time.Minute) }, [2]float64{1, 0}},
			{"the lease is over", func() { time.Sleep(time.Minute) }, [2]float64{0, 0}},
			{"unsupported", func() { from.receiver().Unsupported(errors.New("secret")) }, [2]float64{0, 1}},
		} {
			step.do()
			if got := state(l); got != step.want {
				t.Errorf("%s: connected and unsupported are %v, want %v", step.what, got, step.want)
			}
		}
	}, local.Invalidation(from))
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		if _, ok := gauges(l)[telemetry.WatchConnected]; ok {
			t.Error("a tier without sources reports a channel")
		}
	})
}
