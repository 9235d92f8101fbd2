package local_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

func TestOwnWritesStayInMemory(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		commit(t, l, "a", map[string]any{"k": 2})
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
	})
}

// The commit may have been applied although its answer got lost.
func TestAFailedCommitInvalidates(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		lost := errors.New("lost")
		s.OnCommit = func(context.Context, string) error { return lost }
		delta, _ := tiers.Replace(map[string]any{"k": 2})
		if _, err := l.Commit(ctx, "a", delta, ttl); err != lost {
			t.Fatalf("error %v", err)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}

func TestAPanickingCommitInvalidates(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		s.OnCommit = func(context.Context, string) error { panic("store") }
		func() {
			defer func() {
				if recover() != "store" {
					t.Error("the panic didn't get through")
				}
			}()
			commit(t, l, "a", map[string]any{"k": 2})
		}()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}

func TestRemoveAllInvalidates(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		if err := l.RemoveAll(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	})
}

// A state that was read before a write must not be kept after it, although the read ends later.
func TestALoadThatAWriteOvertakesIsNotKept(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		read, written := make(chan struct{}), make(chan struct{})
		s.OnLoaded = onceOf(func() { close(read); <-written })
		slow := make(chan tiers.Read)
		go func() {
			r, _ := l.Load(ctx, "a", ttl)
			slow <- r
		}()
		<-read
		commit(t, l, "a", map[string]any{"k": 2})
		close(written)
		if r := <-slow; r.Snapshot.Get("k") != 1 {
			t.Error("the overtaken read should answer what it read")
		}
		settle()
		if r := load(t, l, "a"); r.Snapshot.Get("k") != 2 {
			t.Errorf("got %v after the write, want 2", r.Snapshot.Get("k"))
		}
	})
}

// Two commits at once: neither knows which the store applied last.
func TestOverlappingCommitsKeepNeither(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		first, second := make(chan struct{}), make(chan struct{})
		var n atomic.Int32
		s.OnCommit = func(context.Context, string) error {
			if n.Add(1) == 1 {
				close(first)
				<-second
			}
			return nil
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			commit(t, l, "a", map[string]any{"k": 1})
		}()
		<-first
		commit(t, l, "a", map[string]any{"k": 2})
		close(second)
		<-done
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}

func TestSlidesAreRareAndNeverEarly(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		commit(t, l, "a", map[string]any{"k": 1})
		settle()
		for range 2000 { // a request every six seconds, for more than three ttl
			time.Sleep(6 * time.Second)
			load(t, l, "a")
			settle()
			if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
			settle()
			left := time.Until(s.Expires("a"))
			if left < ttl || left > ttl+ttl/10 {
				t.Fatalf("the session has %v left after a request, its ttl is %v", left, ttl)
			}
		}
		if _, _, slides := s.Count(); slides > 2000*6*10/3600+2 {
			t.Errorf("%d slides in 200 minutes, want one each tenth of an hour", slides)
		}
	})
}

func TestASlideOfThisNodeKeepsItsCopyInMemory(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Second)
		load(t, l, "a")
		settle()
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		settle()
		time.Sleep(30 * time.Minute)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
	}, local.Exclusive())
}

func TestAShorterTtlIsSetAtOnce(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, 24*ttl)
		load(t, l, "a")
		settle()
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires("a")); left > ttl+ttl/10 {
			t.Errorf("the session outlives its ttl: %v left", left)
		}
	})
}

// It may be another session by then, which has begun under the same id.
func TestASlideRevivesNoSessionThatHasExpired(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Second/2)
		load(t, l, "a")
		settle()
		time.Sleep(time.Second / 2)
		s.Put("a", map[string]any{"k": 2}, ttl)
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}

func TestASlideThatFindsNoSessionInvalidates(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, time.Minute)
		load(t, l, "a")
		settle()
		s.Drop("a")
		if err := l.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "", nil)
	}, local.Exclusive())
}

// Readers and writers on few ids: no read begun after a write has returned may see
// anything older, whatever ristretto does with its sets.
func TestReadYourWritesUnderLoad(t *testing.T) {
	s := teststore.New()
	l := local.New(s, local.GuardSlots(4), local.Exclusive(), local.LoadTimeout(time.Minute))
	defer l.Close(ctx)
	const ids, rounds = 3, 4000
	var latest [ids]atomic.Int64
	var group sync.WaitGroup
	var stop atomic.Bool
	for n := range ids {
		commit(t, l, fmt.Sprint(n), map[string]any{"v": int64(0)})
		group.Go(func() {
			for v := int64(1); v <= rounds; v++ {
				commit(t, l, fmt.Sprint(n), map[string]any{"v": v})
				latest[n].Store(v)
			}
			stop.Store(true)
		})
	}
	for range 4 {
		group.Go(func() {
			for n := 0; !stop.Load(); n = (n + 1) % ids {
				before := latest[n].Load()
				read, err := l.Load(ctx, fmt.Sprint(n), ttl)
				if err != nil {
					t.Error(err)
					return
				}
				if v := read.Snapshot.Get("v").(int64); v < before {
					t.Errorf("read %d after %d had been written", v, before)
					return
				}
			}
		})
	}
	group.Wait()
}

// onceOf runs f for the first call; the others don't wait for it.
func onceOf(f func()) func(string) {
	var called atomic.Bool
	return func(string) {
		if !called.Swap(true) {
			f()
		}
	}
}

// A load that began before a commit and ends after it doesn't push the newer state out.
func TestALateLoadLeavesTheNewerStateInMemory(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		base := load(t, l, "a").Snapshot
		settle()
		time.Sleep(time.Second) // not served any more
		release := make(chan struct{})
		s.OnLoad = func(context.Context, string) { <-release }
		go l.Load(ctx, "a", ttl)
		settle()
		delta, err := tiers.Diff(base, map[string]any{"k": 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
			t.Fatal(err)
		}
		close(release)
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
	})
}
