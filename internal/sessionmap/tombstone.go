package sessionmap

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/generations"
)

// generationSize bounds each of the two generations of tombstones and of absences.
const generationSize = 1 << 15

var idSeed = maphash.MakeSeed()

func hashID(id string) uint64 { return maphash.String(idSeed, id) }

// tombstones remember when sessions were removed, on a clock that counts removals. So a map from before a
// removal is recognised, also after the session was created anew under the same id.
//
// Removals are remembered only for ids of which a request may hold a map, so that log-outs of made-up ids
// cost nothing. The last 32,768 of them are kept at least. For older ones the store decides, as for
// removals on another node: a commit is refused if the store holds no session. Ids are kept as 64-bit
// hashes under a random seed.
//
// clock is atomic and counts under mu; mu guards the rest but expected, which guards itself.
type tombstones struct {
	clock    atomic.Uint64
	expected expected

	mu      sync.Mutex
	removed generations.Map[uint64, uint64] // the clock after the removal, by the id's hash
}

func (t *tombstones) now() uint64 { return t.clock.Load() }

// expect is called before a map is handed out, and reports whether a removal of the id may
// have gone unnoticed so far.
func (t *tombstones) expect(id string) (first bool) { return t.expected.add(hashID(id)) }

func (t *tombstones) bury(id string) {
	hash := hashID(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.clock.Add(1) // also if no map is expected: a load under way is repeated
	t.expected.age()
	if !t.expected.has(hash) {
		return
	}
	t.removed.Put(hash, at, generationSize)
}

// Since reports whether the session is known to have been removed after the clock showed
// stamp.
func (t *tombstones) Since(id string, stamp uint64) bool {
	return t.clock.Load() != stamp && t.Removed(hashID(id), stamp)
}

// Removed is Since for an id's hash.
func (t *tombstones) Removed(hash, stamp uint64) bool {
	if t.clock.Load() == stamp {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, _ := t.removed.Get(hash)
	return at > stamp
}

// expected knows of which ids maps may be held: surely of those for which one was handed out
// within the last half hour, and of a few more. It has a bit for a hash, so that it takes
// 256 KiB at most, however many there are. Both fields are atomic, and replaced by age alone.
type expected struct {
	young, old atomic.Pointer[expectedBits]
	began      time.Time // of young; guarded by the mutex of the tombstones
}

const (
	expectedSize = 1 << 20
	expectedLife = 30 * time.Minute
)

type expectedBits [expectedSize / 64]atomic.Uint64

func (b *expectedBits) at(hash uint64) (word *atomic.Uint64, bit uint64) {
	return &b[hash/64%uint64(len(b))], 1 << (hash % 64)
}

func (b *expectedBits) has(hash uint64) bool {
	if b == nil {
		return false
	}
	word, bit := b.at(hash)
	return word.Load()&bit != 0
}

// add reports whether the hash is new.
func (e *expected) add(hash uint64) bool {
	bits := e.young.Load()
	if bits.has(hash) {
		return false
	}
	if bits == nil {
		e.young.CompareAndSwap(nil, &expectedBits{})
		bits = e.young.Load()
	}
	word, bit := bits.at(hash)
	return word.Or(bit)&bit == 0
}

func (e *expected) has(hash uint64) bool {
	return e.young.Load().has(hash) || e.old.Load().has(hash)
}

// age begins a new young generation after a while. A map that is noted in the one that has
// just become old is still found there.
func (e *expected) age() {
	switch now := time.Now(); {
	case e.began.IsZero():
		e.began = now
	case now.Sub(e.began) > expectedLife:
		e.old.Store(e.young.Load())
		e.young.Store(&expectedBits{})
		e.began = now
	}
}
