package tiers

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGuardInvalidates(t *testing.T) {
	g := NewGuard(8)
	hash := g.Hash("a")
	other := hash + 1 // the next slot
	for name, tt := range map[string]struct {
		bump  func()
		valid bool // what was stamped before
	}{
		"nothing":               {func() {}, true},
		"Bump":                  {func() { g.Bump(hash) }, false},
		"BumpAll":               {func() { g.BumpAll() }, false},
		"Bump of another slot":  {func() { g.Bump(other) }, true},
		"BumpFrom":              {func() { g.BumpFrom(hash, g.Stamp(hash)) }, false},
		"BumpFrom another slot": {func() { g.BumpFrom(other, g.Stamp(other)) }, true},
	} {
		stamp := g.Stamp(hash)
		tt.bump()
		if valid := g.Stamp(hash) == stamp; valid != tt.valid {
			t.Errorf("after %s, what was stamped before is valid = %v", name, valid)
		}
	}
}

func TestGuardHasTheSlotsThatWereAskedFor(t *testing.T) {
	for asked, want := range map[int]int{-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 1000: 1024, DefaultGuardSlots: DefaultGuardSlots} {
		if g := NewGuard(asked); len(g.slots) != want || g.mask != uint64(want-1) {
			t.Errorf("NewGuard(%d) has %d slots", asked, len(g.slots))
		}
	}
}

func TestBumpFromKeepsOnlyWhatNobodyElseWrote(t *testing.T) {
	g := NewGuard(8)
	hash := g.Hash("a")
	for name, tt := range map[string]struct {
		meanwhile func()
		ok        bool
	}{
		"nothing":           {func() {}, true},
		"another write":     {func() { g.Bump(hash) }, false},
		"an epoch":          {func() { g.BumpAll() }, false},
		"an epoch and more": {func() { g.BumpAll(); g.Bump(hash); g.BumpAll() }, false},
	} {
		stamp := g.Stamp(hash)
		tt.meanwhile()
		changed := g.Stamp(hash)
		next, ok := g.BumpFrom(hash, stamp)
		if ok != tt.ok {
			t.Errorf("%s: BumpFrom = %v", name, ok)
		}
		if g.Stamp(hash) == changed {
			t.Errorf("%s: what was loaded meanwhile is still valid", name)
		}
		if ok && g.Stamp(hash) != next {
			t.Errorf("%s: what was written isn't valid", name)
		}
	}
}

// Of many that write from one stamp, one may keep what it wrote, and none where an
// epoch began meanwhile.
func TestBumpFromHasOneWinner(t *testing.T) {
	for range 500 {
		g := NewGuard(1)
		stamp := g.Stamp(0)
		var winners atomic.Int64
		var next atomic.Uint64
		epoch := rand.IntN(2) == 0
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if n, ok := g.BumpFrom(0, stamp); ok {
					winners.Add(1)
					next.Store(n)
				}
			})
		}
		if epoch {
			all.Go(g.BumpAll)
		}
		all.Wait()
		if winners.Load() > 1 || !epoch && winners.Load() != 1 {
			t.Fatalf("%d writers may keep what they wrote", winners.Load())
		}
		if winners.Load() == 1 && next.Load() == g.Stamp(0) {
			t.Fatal("what the winner wrote is valid after two later writes")
		}
	}
}

// cached is an entry of the tiny cache below.
type cached struct {
	value uint64
	stamp uint64
}

// race lets writers and readers of one session loose on a store and a cache of one
// entry, and counts the reads that are older than a write which had returned before
// they began. Writers keep what they wrote where the guard lets them.
func race(guarded bool) (stale, hits int64) {
	var (
		g       = NewGuard(1)
		mu      sync.Mutex    // the store's
		store   uint64        // what it holds
		settled atomic.Uint64 // the newest write that has returned
		cache   atomic.Pointer[cached]
		staleN  atomic.Int64
		hitN    atomic.Int64
		writing sync.WaitGroup
		reading sync.WaitGroup
		done    atomic.Bool
	)
	cache.Store(&cached{})
	for range 2 {
		writing.Go(func() {
			for range 20_000 {
				stamp := g.Stamp(0)
				mu.Lock()
				store++
				value := store
				mu.Unlock()
				if next, ok := g.BumpFrom(0, stamp); ok {
					cache.Store(&cached{value: value, stamp: next})
				}
				for {
					old := settled.Load()
					if old >= value || settled.CompareAndSwap(old, value) {
						break
					}
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for !done.Load() {
				least := settled.Load()
				e := cache.Load()
				stamp := g.Stamp(0)
				if !guarded || e.stamp == stamp {
					hitN.Add(1)
					if e.value < least {
						staleN.Add(1)
					}
					if guarded || rand.IntN(2) == 0 {
						continue
					}
				}
				mu.Lock()
				value := store
				mu.Unlock()
				if value < least {
					staleN.Add(1)
				}
				cache.Store(&cached{value: value, stamp: stamp})
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
	return staleN.Load(), hitN.Load()
}

func TestGuardServesNothingStale(t *testing.T) {
	stale, hits := race(true)
	if stale != 0 {
		t.Errorf("%d of %d hits were stale", stale, hits)
	}
	if unguarded, _ := race(false); unguarded == 0 {
		t.Log("without the guard this run had no stale read either")
	}
}
