package local

import (
	"hash/maphash"
	"sync/atomic"
)

// slots is the number of the guard's slots: one for each 256 bytes of MaxBytes, and 2 to 32 MiB. With 64 MiB of
// sessions, 4 % of 10,000 ids for which stamps are held share a slot with another one, and are invalidated by any
// write of a third; writes of ids that aren't held invalidate none of the others, however many come.
func (o *Options) slots() int {
	if o.GuardSlots > 0 {
		return o.GuardSlots
	}
	return int(min(max(o.MaxBytes/256, leastSlots), mostSlots))
}

const leastSlots, mostSlots = 1 << 18, 1 << 22

// guard finds out whether a cached state may have been written since its load began.
//
// Hold a stamp before the load, keep it with the entry, and serve the entry only while
// Stamp still returns the same; read it after the entry was fetched. A write bumps after it is
// done, on errors too, and so does an invalidation. Ids that share a slot cost each
// other a reload, never a stale read.
//
// A slot is one word: a generation and, below it, a tag of the id of which stamps are held. A bump
// of an id of which none is held begins no new generation: a load that takes its
// stamp after the bump has looked begins after the write and finds it, and one that took
// its stamp before has left its tag. Both are operations on the one word, so that no third
// order exists. Any other bump begins the next generation, of which no stamp is held yet.
//
// All fields are set at construction; slots and epoch are atomics.
type guard struct {
	seed  maphash.Seed
	mask  uint64
	slots []atomic.Uint64
	epoch atomic.Uint64
}

// The tag of a slot: none, one id's, or that there are several. A generation has the
// bits above, enough for a million bumps a second in one slot for twelve days.
const (
	tagBits = 24
	none    = 0
	several = 1<<tagBits - 1
)

// tag is the id's tag in its slot, made of bits that don't choose the slot.
func tag(hash uint64) uint64 { return min(max(hash>>(64-tagBits), none+1), several-1) }

// newGuard makes a guard of at least the given number of slots.
func newGuard(slots int) *guard {
	size := 1
	for size < slots {
		size *= 2
	}
	return &guard{seed: maphash.MakeSeed(), mask: uint64(size - 1), slots: make([]atomic.Uint64, size)}
}

// Hash returns the id's place in this guard, and a well-spread key for caches beside it.
func (g *guard) Hash(id string) uint64 { return maphash.String(g.seed, id) }

// Stamp returns the generation of the id with this hash, to compare with the one that an entry
// holds. Both terms only grow, so equal sums mean equal terms.
func (g *guard) Stamp(hash uint64) uint64 {
	return g.slots[hash&g.mask].Load()>>tagBits + g.epoch.Load()
}

// Hold returns a Stamp under which a state may be kept, or shared with others.
func (g *guard) Hold(hash uint64) uint64 {
	slot, mine := &g.slots[hash&g.mask], tag(hash)
	for {
		word := slot.Load()
		held := mine
		switch word & several {
		case mine, several:
			return word>>tagBits + g.epoch.Load()
		case none:
		default:
			held = several
		}
		if slot.CompareAndSwap(word, word|held) {
			return word>>tagBits + g.epoch.Load()
		}
	}
}

// Bump invalidates every entry of the id.
func (g *guard) Bump(hash uint64) {
	slot, mine := &g.slots[hash&g.mask], tag(hash)
	for {
		word := slot.Load()
		if holder := word & several; holder != mine && holder != several {
			return
		}
		if slot.CompareAndSwap(word, next(word, none)) {
			return
		}
	}
}

// Epoch returns how often BumpAll was called.
func (g *guard) Epoch() uint64 { return g.epoch.Load() }

// Renew begins a generation whichever stamps are held, so it invalidates every entry of the id,
// and returns the stamp under which the caller may keep a state. That is invalid at once
// if an epoch has begun since the given one.
func (g *guard) Renew(hash, epoch uint64) (held uint64) {
	slot := &g.slots[hash&g.mask]
	for {
		word := slot.Load()
		if renewed := next(word, tag(hash)); slot.CompareAndSwap(word, renewed) {
			return renewed>>tagBits + epoch
		}
	}
}

// next is a slot's word of the next generation.
func next(word, holder uint64) uint64 { return (word>>tagBits+1)<<tagBits | holder }

// BumpAll invalidates every entry.
func (g *guard) BumpAll() { g.epoch.Add(1) }
