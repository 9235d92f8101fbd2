package local

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGuardInvalidates(t *testing.T) {
	g := newGuard(8)
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
		"Renew":                 {func() { g.Renew(hash, g.Epoch()) }, false},
		"a Bump in its slot":    {func() { g.Bump(neighbour) }, true},
		"a Renew in its slot":   {func() { g.Renew(neighbour, g.Epoch()) }, false},
		"Renew of another slot": {func() { g.Renew(other, g.Epoch()) }, true},
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
	for asked, want := range map[int]int{-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 1000: 1024, leastSlots: leastSlots} {
		if g := newGuard(asked); len(g.slots) != want || g.mask != uint64(want-1) {
			t.Errorf("newGuard(%d) has %d slots", asked, len(g.slots))
		}
	}
	for maxBytes, want := range map[int64]int{1: 1 << 18, 64 << 20: 1 << 18, 512 << 20: 1 << 21, 1 << 60: 1 << 22} {
		if got := (&Options{MaxBytes: maxBytes}).slots(); got != want {
			t.Errorf("%d slots for %d bytes, want %d", got, maxBytes, want)
		}
	}
}

// A state that is kept under a new generation is valid until the next bump, and never if an epoch began
// before.
func TestGuardRenews(t *testing.T) {
	g := newGuard(8)
	hash := g.Hash("a")
	for name, tt := range map[string]struct {
		before, after func()
		valid         bool
	}{
		"nothing":               {func() {}, func() {}, true},
		"another write before":  {func() { g.Bump(hash) }, func() {}, true},
		"an epoch before":       {func() { g.BumpAll() }, func() {}, false},
		"two epochs before":     {func() { g.BumpAll(); g.Bump(hash); g.BumpAll() }, func() {}, false},
		"another write after":   {func() {}, func() { g.Bump(hash) }, false},
		"another renewal after": {func() {}, func() { g.Renew(hash, g.Epoch()) }, false},
		"an epoch after":        {func() {}, func() { g.BumpAll() }, false},
	} {
		g.Hold(hash)
		epoch := g.Epoch()
		tt.before()
		held := g.Renew(hash, epoch)
		tt.after()
		if valid := g.Stamp(hash) == held; valid != tt.valid {
			t.Errorf("%s: what was kept is valid = %v", name, valid)
		}
	}
}

// Of many that keep something at the same time the last one does, and none where an epoch
// began.
func TestOneOfManyRenewalsIsValid(t *testing.T) {
	for range 500 {
		g := newGuard(1)
		var held [3]uint64
		before := g.Epoch()
		epoch := rand.IntN(2) == 0
		var all sync.WaitGroup
		for n := range held {
			all.Go(func() { held[n] = g.Renew(0, before) })
		}
		if epoch {
			all.Go(g.BumpAll)
		}
		all.Wait()
		valid := 0
		for _, stamp := range held {
			if stamp == g.Stamp(0) {
				valid++
			}
		}
		if epoch && valid != 0 || !epoch && valid != 1 {
			t.Fatalf("%d are valid, an epoch began: %t", valid, epoch)
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
// they began.
func race(guarded bool) (stale, hits int64) {
	var (
		g       = newGuard(1)
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
	cache.Store(&cached{stamp: g.Hold(0)})
	for range 2 {
		writing.Go(func() {
			for range 20_000 {
				mu.Lock()
				store++
				value := store
				mu.Unlock()
				g.Bump(0)
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
	stamp       uint64
	held        bool // and not invalidated since
	invalidated bool
}

// Each operation is one on one word, so that any interleaving of them is some order. In all
// orders of a few, a write invalidates the stamps of its id, and a write of an id without a stamp
// leaves those of the one other id in the slot valid.
func TestGuardInAllOrders(t *testing.T) {
	const ids, length = 3, 4
	hashes := [ids]uint64{0, 1 << 45, 1 << 60} // the lowest tag stands in for nobody's
	const kinds = 3
	const operations = kinds*ids + 1
	total := 1
	for range length {
		total *= operations
	}
	for order := range total {
		g := newGuard(1)
		var known [ids]holds
		invalidate := func(n int) {
			known[n].invalidated = known[n].held || known[n].invalidated
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
			n, kind := rest%operations/kinds, rest%operations%kinds
			before := g.Stamp(0)
			if n < ids && kind != 1 {
				holders[n] = true
			}
			switch {
			case n == ids:
				g.BumpAll()
				for m := range known {
					invalidate(m)
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
				invalidate(n)
				if once := g.Stamp(0); once != before {
					if g.Bump(hashes[n]); g.Stamp(0) != once {
						t.Fatalf("order %d: a second Bump invalidates what nobody holds", order)
					}
				}
				if spares >= 0 && g.Stamp(0) != before {
					t.Fatalf("order %d: a write of an id that nobody held has invalidated another", order)
				}
			default:
				held := g.Renew(hashes[n], g.Epoch())
				invalidate(n)
				if g.Stamp(0) != before+1 || g.Stamp(0) != held {
					t.Fatalf("order %d: a Renew isn't one generation", order)
				}
				if known[n].invalidated && g.Stamp(0) == known[n].stamp {
					t.Fatalf("order %d: a Renew invalidates nothing", order)
				}
				known[n] = holds{stamp: held, held: true}
			}
			for m := range known {
				if known[m].invalidated && g.Stamp(0) == known[m].stamp {
					t.Fatalf("order %d: what a write has invalidated is current", order)
				}
			}
		}
	}
}

// Sessions that a node holds stay valid when sessions that it doesn't hold are written.
func TestGuardIgnoresWritesOfOtherSessions(t *testing.T) {
	g := newGuard(leastSlots)
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
			t.Fatal("its own write doesn't invalidate one")
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	g := newGuard(leastSlots)
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			g.Hash("an id")
		}
	})
	b.Run("stamp", func(b *testing.B) {
		hash := g.Hash("an id")
		for b.Loop() {
			g.Stamp(hash)
		}
	})
	b.Run("bump", func(b *testing.B) {
		for n := uint64(0); b.Loop(); n++ {
			g.Bump(n)
		}
	})
}
