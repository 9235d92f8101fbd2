package tiers

import (
	"hash/maphash"
	"sync/atomic"
)

// DefaultGuardSlots falsely invalidates 0.4 % of the entries at 1,000 bumps per
// lifetime of an entry, and takes 2 MiB.
const DefaultGuardSlots = 1 << 18

// Guard tells whether a cached state may have been written since its load began.
//
// Take a Stamp before the load, keep it with the entry, and serve the entry only
// while Stamp still answers the same; read it after the entry was fetched. Whoever
// writes or hears of a write bumps after the write, on errors too. Ids that share a
// slot cost each other a reload, never a stale answer.
//
// All fields are set at construction; slots and epoch are atomics.
type Guard struct {
	seed  maphash.Seed
	mask  uint64
	slots []atomic.Uint64
	epoch atomic.Uint64
}

// NewGuard makes a guard of at least the given number of slots.
func NewGuard(slots int) *Guard {
	size := 1
	for size < slots {
		size *= 2
	}
	return &Guard{seed: maphash.MakeSeed(), mask: uint64(size - 1), slots: make([]atomic.Uint64, size)}
}

// Hash is the id's place in this guard, and a well-spread key for caches beside it.
func (g *Guard) Hash(id string) uint64 { return maphash.String(g.seed, id) }

// Stamp is the state of the id with this hash. Both terms only grow, so that equal
// sums mean equal terms.
func (g *Guard) Stamp(hash uint64) uint64 {
	return g.slots[hash&g.mask].Load() + g.epoch.Load()
}

// Bump invalidates every entry of the id.
func (g *Guard) Bump(hash uint64) { g.slots[hash&g.mask].Add(1) }

// BumpFrom invalidates every entry of the id and, where no other write of it was
// heard of since stamp, answers the stamp under which the state that the caller
// just wrote may be kept.
func (g *Guard) BumpFrom(hash, stamp uint64) (next uint64, ok bool) {
	slot, epoch := &g.slots[hash&g.mask], g.epoch.Load()
	ok = slot.CompareAndSwap(stamp-epoch, stamp-epoch+1)
	if !ok {
		slot.Add(1)
	}
	return stamp + 1, ok
}

// BumpAll invalidates every entry.
func (g *Guard) BumpAll() { g.epoch.Add(1) }
