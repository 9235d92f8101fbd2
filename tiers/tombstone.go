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
	young     map[uint64]tombstone // by the id's hash
	old       map[uint64]tombstone
	forgotten uint64 // removals up to this moment may be missing
	oldest    uint64 // the clock when young began
}

// tombstone is one removal.
type tombstone struct {
	at      uint64 // the clock after it
	revived bool   // the session was written since
}

func (t *tombstones) now() uint64 { return t.clock.Load() }

func (t *tombstones) bury(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.young) >= generationSize || t.young == nil {
		t.forgotten = t.oldest
		t.old, t.young, t.oldest = t.young, map[uint64]tombstone{}, t.clock.Load()
	}
	t.young[hashID(id)] = tombstone{at: t.clock.Add(1)}
}

// since reports whether the session was removed after the clock showed stamp.
func (t *tombstones) since(id string, stamp uint64) bool {
	if t.clock.Load() == stamp {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stone, _ := t.last(id)
	return stamp < t.forgotten || stone.at > stamp
}

// buried reports whether a removal of the session is remembered, and no write since.
func (t *tombstones) buried(id string) bool {
	if t.clock.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stone, generation := t.last(id)
	return generation != nil && !stone.revived
}

// revive notes that the session was written.
func (t *tombstones) revive(id string) {
	if t.clock.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if stone, generation := t.last(id); generation != nil {
		stone.revived = true
		generation[hashID(id)] = stone
	}
}

// last is the session's latest removal and the generation that holds it, nil for none.
func (t *tombstones) last(id string) (tombstone, map[uint64]tombstone) {
	hash := hashID(id)
	for _, generation := range []map[uint64]tombstone{t.young, t.old} {
		if stone, ok := generation[hash]; ok {
			return stone, generation
		}
	}
	return tombstone{}, nil
}

// death is a removal of a session that hasn't happened when the clock showed stamp, and
// may since.
type death struct {
	tombstones *tombstones
	id         string
	stamp      uint64
}

func (d death) happened() bool { return d.tombstones.since(d.id, d.stamp) }
