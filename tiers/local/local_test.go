package local_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// bubble runs a test in its own time, with a local tier that it closes. settle lets
// ristretto apply what it was given.
func bubble(t *testing.T, s *teststore.Store, test func(t *testing.T, l *local.Storage, settle func()), opts ...local.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, append([]local.Option{local.MaxBytes(4 << 20)}, opts...)...) // each closing clears ristretto's counters
		defer l.Close(ctx)
		test(t, l, synctest.Wait)
	})
}

func load(t *testing.T, l *local.Storage, id string) tiers.Read {
	t.Helper()
	read, err := l.Load(ctx, id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func want(t *testing.T, read tiers.Read, outcome tiers.Outcome, key string, value any) {
	t.Helper()
	if read.Outcome != outcome {
		t.Errorf("outcome %v, want %v", read.Outcome, outcome)
	}
	switch {
	case read.Snapshot == nil && value != nil:
		t.Errorf("no session, want one")
	case read.Snapshot != nil && read.Snapshot.Get(key) != value:
		t.Errorf("got %v, want %v", read.Snapshot.Get(key), value)
	}
}

func TestHitSparesTheStore(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": "v"}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", "v")
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", "v")
		if loads, _, _ := s.Count(); loads != 1 {
			t.Errorf("%d loads, want 1", loads)
		}
	})
}

func TestMaxStaleBoundsSessionsWithoutASource(t *testing.T) {
	for name, bound := range map[string]time.Duration{"default": time.Second, "set": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			var opts []local.Option
			if name == "set" {
				opts = append(opts, local.MaxStale(bound))
			}
			s := teststore.New()
			bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
				s.Put("a", map[string]any{"k": 1}, ttl)
				load(t, l, "a")
				settle()
				s.Put("a", map[string]any{"k": 2}, ttl)
				time.Sleep(bound - 1)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
				time.Sleep(time.Nanosecond)
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
			}, opts...)
		})
	}
}

func TestMaxStaleZeroServesNothing(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		load(t, l, "none")
		want(t, load(t, l, "none"), tiers.OutcomeMiss, "", nil)
	}, local.MaxStale(0))
}

func TestExclusiveServesUntilTheSessionExpires(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Minute)
		load(t, l, "a")
		settle()
		time.Sleep(time.Minute - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	}, local.Exclusive())
}

// A store that returns no expiry is known to keep a session for its ttl after a write. After that it
// must be asked again and again.
func TestExclusiveOverAStoreThatReturnsNoExpiry(t *testing.T) {
	s := teststore.New()
	s.Silent = true
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		delta, err := tiers.Replace(map[string]any{"k": 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
			t.Fatal(err)
		}
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		settle()
		time.Sleep(ttl - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	}, local.Exclusive())
	s = teststore.New()
	s.Silent = true
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl) // when it was written isn't known here
		load(t, l, "a")
		settle()
		time.Sleep(time.Second - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
	}, local.Exclusive())
}

func TestExpiryBoundsAnEntry(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, 300*time.Millisecond)
		load(t, l, "a")
		settle()
		time.Sleep(300*time.Millisecond - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	})
}

// It is known that there is no session for MaxStale at most, whatever vouches: of an absence no store says how long it lasts.
func TestNegativeEntriesLastForMaxStale(t *testing.T) {
	s, from := teststore.New(), &source{}
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		from.confirm(2 * time.Hour)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
		want(t, load(t, l, "a"), tiers.OutcomeNegative, "", nil)
		s.Put("a", map[string]any{"k": 1}, ttl)
		from.receiver().Invalidate("a")
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
	}, local.Invalidation(from))
	for name, option := range map[string]local.Option{"watched": local.Invalidation(from), "exclusive": local.Exclusive(), "neither": func(*local.Options) {}} {
		s = teststore.New()
		bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
			if name == "watched" {
				from.confirm(2 * time.Hour)
			}
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
			s.Put("a", map[string]any{"k": 1}, ttl)
			time.Sleep(200*time.Millisecond - 1)
			want(t, load(t, l, "a"), tiers.OutcomeNegative, "", nil)
			time.Sleep(time.Nanosecond)
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		}, local.MaxStale(200*time.Millisecond), option)
	}
	bubble(t, teststore.New(), func(t *testing.T, l *local.Storage, settle func()) {
		load(t, l, "a")
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	}, local.MaxStale(0))
}

func TestANegativeEntryEndsWithAWriteOfThisNode(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		load(t, l, "a")
		commit(t, l, "a", map[string]any{"k": 1})
		if read := load(t, l, "a"); read.Snapshot == nil {
			t.Error("a session that this node has written is denied")
		}
	})
}

// Made-up ids must not push sessions out: they have room of their own.
func TestAFloodOfUnknownIdsEvictsNothing(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		for n := range 20_000 {
			load(t, l, fmt.Sprint("made up ", n))
		}
		load(t, l, strings.Repeat("x", 10<<20))
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	}, local.MaxBytes(4096), local.Exclusive())
}

func TestMaxBytesBoundsMemory(t *testing.T) {
	s := teststore.New()
	const each = 4 << 10
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		for n := range 400 {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": strings.Repeat("x", each)}, ttl)
			load(t, l, id)
			settle()
		}
		hits := 0
		for n := range 400 {
			s.Drop(fmt.Sprint(n)) // what isn't in memory is nowhere
			if load(t, l, fmt.Sprint(n)).Outcome == tiers.OutcomeHit {
				hits++
			}
		}
		if hits == 0 || hits > 64<<10/each {
			t.Errorf("%d sessions of 4 KiB were kept in 64 KiB", hits)
		}
	}, local.MaxBytes(64<<10), local.Exclusive())
}

// Two managers with different times to live share what is in memory, and a load.
func TestReadsWithDifferentTtlsShareAnEntry(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		ask := func(id string, life time.Duration) tiers.Read {
			read, err := l.Load(ctx, id, life)
			if err != nil {
				t.Error(err)
			}
			return read
		}
		answer := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-answer }
		var group sync.WaitGroup
		group.Go(func() { want(t, ask("a", ttl), tiers.OutcomeMiss, "k", 1) })
		group.Go(func() { want(t, ask("a", 2*ttl), tiers.OutcomeMiss, "k", 1) })
		settle()
		close(answer)
		group.Wait()
		ask("none", ttl)
		for range 10 {
			for _, life := range []time.Duration{ttl, ttl / 2, 2 * ttl, 0} {
				want(t, ask("a", life), tiers.OutcomeHit, "k", 1)
				want(t, ask("none", life), tiers.OutcomeNegative, "k", nil)
			}
		}
		if loads, _, _ := s.Count(); loads != 2 {
			t.Errorf("%d loads of two sessions", loads)
		}
	})
}

func TestErrorsAreNotRemembered(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := l.Load(gone, "a", ttl); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
	})
}

func commit(t *testing.T, l *local.Storage, id string, data map[string]any) {
	t.Helper()
	delta, err := tiers.Replace(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, id, delta, ttl); err != nil {
		t.Fatal(err)
	}
}

// After Close every read goes to the store, whatever memory held.
func TestNothingIsServedFromMemoryAfterClose(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, local.Exclusive(), local.ServeStale(time.Hour))
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 2 {
			load(t, l, "a")
			load(t, l, "none")
		}
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
		loads, _, slides := s.Count()
		for range 2 {
			if read := load(t, l, "none"); read.Outcome == tiers.OutcomeNegative {
				t.Error("an absence is served from memory")
			}
			load(t, l, "a")
			if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
		}
		if now, _, nowSlides := s.Count(); now != loads+4 || nowSlides != slides+2 {
			t.Errorf("%d loads and %d slides reached the store, want 4 and 2", now-loads, nowSlides-slides)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if read, err := l.Load(gone, "a", ttl); err == nil {
			t.Errorf("a %v is served though the store doesn't respond", read.Outcome)
		}
	})
}
