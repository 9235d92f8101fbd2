package tiers

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// generationSize bounds each of the two generations of tombstones and of absences.
const generationSize = 1 << 15

var idSeed = maphash.MakeSeed()

func hashID(id string) uint64 { return maphash.String(idSeed, id) }

// tombstones remember which sessions were removed when, on a clock that counts
// removals, so that a map handed out before a removal is known for what it is even
// after the session was created anew under the same id.
//
// They hold the last 32,768 removals at least. Whether an id was removed before
// those can't be told: a map that was handed out so long ago counts as removed,
// which is the safe answer. Ids are kept as 64-bit hashes under a random seed.
//
// clock is atomic and counts under mu; mu guards the rest.
type tombstones struct {
	clock atomic.Uint64

	mu        sync.Mutex
	young     map[uint64]uint64 // id's hash: the clock after its removal
	old       map[uint64]uint64
	forgotten uint64 // removals up to this moment may be missing
	oldest    uint64 // the clock when young began
}

func (t *tombstones) now() uint64 { return t.clock.Load() }

func (t *tombstones) bury(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.young) >= generationSize || t.young == nil {
		t.forgotten = t.oldest
		t.old, t.young, t.oldest = t.young, map[uint64]uint64{}, t.clock.Load()
	}
	t.young[hashID(id)] = t.clock.Add(1)
}

// since reports whether the session was removed after the clock showed stamp.
func (t *tombstones) since(id string, stamp uint64) bool {
	if t.clock.Load() == stamp {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return stamp < t.forgotten || t.last(id) > stamp
}

// buried reports whether a removal of the session is remembered.
func (t *tombstones) buried(id string) bool {
	if t.clock.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last(id) > 0
}

func (t *tombstones) last(id string) uint64 {
	hash := hashID(id)
	return max(t.young[hash], t.old[hash])
}
