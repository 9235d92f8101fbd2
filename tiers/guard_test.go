package tiers

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGuardInvalidates(t *testing.T) {
	g := NewGuard(8)
	hash := g.Hash("a")
	other := hash + 1         // the next slot
	neighbour := hash ^ 1<<62 // another id in the same one
	for name, tt := range map[string]struct {
		bump  func()
		valid bool // what was stamped before
	}{
		"nothing":               {func() {}, true},
		"Bump":                  {func() { g.Bump(hash) }, false},
		"BumpAll":               {func() { g.BumpAll() }, false},
		"Bump of another slot":  {func() { g.Bump(other) }, true},
		"BumpFrom":              {func() { g.BumpFrom(hash, g.Stamp(hash)) }, false},
		"Rebump":                {func() { g.Rebump(hash) }, false},
		"a Bump in its slot":    {func() { g.Bump(neighbour) }, true},
		"a Rebump in its slot":  {func() { g.Rebump(neighbour) }, false},
		"BumpFrom another slot": {func() { g.BumpFrom(other, g.Hold(other)) }, true},
	} {
		g.Bump(hash)
		stamp := g.Hold(hash)
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
		stamp := g.Hold(hash)
		tt.meanwhile()
		changed := g.Hold(hash)
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
		stamp := g.Hold(0)
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
				stamp := g.Hold(0)
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
				if !guarded || e.stamp == g.Stamp(0) {
					hitN.Add(1)
					if e.value < least {
						staleN.Add(1)
					}
					if guarded || rand.IntN(2) == 0 {
						continue
					}
				}
				stamp := g.Hold(0)
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

// holds are what a test knows of one id: the newest stamp that was held, and what must have
// become of it.
type holds struct {
	stamp    uint64
	held     bool // and not outdated since
	outdated bool
	heard    bool // of another write since
}

// Each operation is one on one word, so that any interleaving of them is some order. In all
// orders of a few, a write outdates what was held of its id, and an id that nobody holds
// outdates nothing of the only one that somebody does.
func TestGuardInAllOrders(t *testing.T) {
	const ids, length = 3, 4
	hashes := [ids]uint64{0, 1 << 45, 1 << 60} // the lowest tag stands in for nobody's
	const operations = 4*ids + 1
	total := 1
	for range length {
		total *= operations
	}
	for order := range total {
		g := NewGuard(1)
		var known [ids]holds
		outdate := func(n int) {
			known[n].outdated, known[n].heard = known[n].held || known[n].outdated, true
			known[n].held = false
		}
		var holders [ids]bool // at any time
		sole := func(n int) bool {
			for m := range holders {
				if m != n && holders[m] {
					return false
				}
			}
			return true
		}
		for rest := order; rest > 0; rest /= operations {
			n, kind := rest%operations/4, rest%operations%4
			before := g.Stamp(0)
			if n < ids && kind != 1 {
				holders[n] = true
			}
			switch {
			case n == ids:
				g.BumpAll()
				for m := range known {
					outdate(m)
				}
			case kind == 0:
				known[n] = holds{stamp: g.Hold(hashes[n]), held: true}
			case kind == 1:
				spares := -1
				for m := range known {
					if m != n && known[m].held && sole(m) {
						spares = m
					}
				}
				g.Bump(hashes[n])
				outdate(n)
				if once := g.Stamp(0); once != before {
					if g.Bump(hashes[n]); g.Stamp(0) != once {
						t.Fatalf("order %d: a second Bump outdates what nobody holds", order)
					}
				}
				if spares >= 0 && g.Stamp(0) != before {
					t.Fatalf("order %d: a write of an id that nobody held has outdated another", order)
				}
			case kind == 2:
				g.Rebump(hashes[n])
				outdate(n)
				if g.Stamp(0) != before+1 {
					t.Fatalf("order %d: a Rebump isn't one generation", order)
				}
				if known[n].outdated && g.Stamp(0) == known[n].stamp {
					t.Fatalf("order %d: a Rebump outdates nothing", order)
				}
				known[n] = holds{stamp: g.Stamp(0), held: true}
			case known[n].stamp > 0 || known[n].held:
				heard := known[n].heard
				next, ok := g.BumpFrom(hashes[n], known[n].stamp)
				if ok && (heard || g.Stamp(0) != next) || g.Stamp(0) != before+1 {
					t.Fatalf("order %d: BumpFrom = %v after another write", order, ok)
				}
				outdate(n)
				if ok {
					known[n] = holds{stamp: next, held: true}
				}
			}
			for m := range known {
				if known[m].outdated && g.Stamp(0) == known[m].stamp {
					t.Fatalf("order %d: what a write has outdated is current", order)
				}
			}
		}
	}
}

// What a node holds outlives the writes of all that it doesn't.
func TestGuardSparesWhatAloneIsHeld(t *testing.T) {
	g := NewGuard(DefaultGuardSlots)
	const held = 10_000
	stamps := map[uint64]uint64{}
	for n := range held {
		hash := g.Hash(fmt.Sprint("held ", n))
		stamps[hash] = g.Hold(hash)
	}
	for n := range 300_000 {
		g.Bump(g.Hash(fmt.Sprint("other ", n)))
	}
	current := 0
	for hash, stamp := range stamps {
		if g.Stamp(hash) == stamp {
			current++
		}
	}
	if current < held*95/100 {
		t.Errorf("after 300,000 writes of others %d of %d are current", current, held)
	}
	for hash, stamp := range stamps {
		if g.Bump(hash); g.Stamp(hash) == stamp {
			t.Fatal("its own write doesn't outdate one")
		}
	}
}
