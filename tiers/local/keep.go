package local

import (
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/gf-strata/strata/telemetry"
)

// keeping has entries of one hash kept one at a time, and those of one place among the warm.
type keeping [64]sync.Mutex

func (k *keeping) turn(hash uint64) *sync.Mutex { return &k[hash%uint64(len(k))] }

// keep puts an entry where it is found, bounded by what is known of its expiry. One that is
// outdated already mustn't take the place of a current one, nor what was loaded earlier
// that of what was loaded later.
func (s *Storage) keep(hash uint64, e *entry) {
	turn := s.keeping.turn(hash)
	turn.Lock()
	defer turn.Unlock()
	if e.stamp != s.guard.Stamp(hash) {
		return
	}
	before := s.find(hash)
	if before != nil && e.snapshot != nil && before.id == e.id && before.stamp == e.stamp && before.ttl == e.ttl {
		if before.loaded > e.loaded {
			// A load that was slow, and may have asked the store last all the same.
			if before = s.lookup(hash); before == nil || !before.snapshot.Same(e.snapshot) {
				s.guard.Bump(hash)
			}
			return
		}
		e.kept = max(e.kept, before.kept)
	}
	e.hash, e.watched = hash, s.watch.watched.Load()
	e.until = s.horizon(e)
	e.id = strings.Clone(e.id) // it may be a part of something large
	e.rested, e.alone = false, false
	s.gate.do(hash, func() {
		if e.snapshot == nil || e.snapshot.Size() > mostSmall {
			s.set(hash, &parcel{awake: e}, e.cost())
			s.warm.drop(hash)
			return
		}
		e.alone = before == nil || before.alone
		s.warm.put(e, s.rest)
	})
}

// cost is what an entry takes awake, in bytes, about.
func (e *entry) cost() int64 {
	cost := parcelBytes + int64(len(e.id))
	if e.snapshot != nil {
		cost += e.snapshot.Size()
	}
	return cost
}

// set is called under the hash's turn and inside the gate.
func (s *Storage) set(hash uint64, p *parcel, cost int64) {
	if s.cache.Set(hash, p, cost) {
		s.sessions.Add(1)
	} else {
		s.tally.Add(telemetry.RejectedByQueue)
	}
}

// find answers what was kept last under the hash, nil for nothing. It may be another
// session's, or at rest, without its snapshot.
func (s *Storage) find(hash uint64) *entry {
	if e := s.warm.find(hash); e != nil {
		return e
	}
	if p := s.taken(hash); p != nil {
		return s.entry(hash, p)
	}
	return nil
}

// lookup is find, with the snapshot of an entry that may be served.
func (s *Storage) lookup(hash uint64) *entry {
	if s.gate.closed() {
		return nil
	}
	if e := s.warm.find(hash); e != nil {
		if rand.Uint32()%countEvery == 0 {
			s.taken(hash)
		}
		return e
	}
	switch p := s.taken(hash); {
	case p == nil:
		return nil
	case p.awake != nil || p.stamp != s.guard.Stamp(hash):
		return s.entry(hash, p)
	default:
		return s.wake(hash, p)
	}
}

// countEvery is how many times an entry is found warm for each time that ristretto is
// told, which keeps what is asked for often.
const countEvery = 16

// taken is what ristretto has under the hash, nil for nothing.
func (s *Storage) taken(hash uint64) (p *parcel) {
	if s.gate.enter(hash) {
		p, _ = s.cache.Get(hash)
		s.gate.leave(hash)
	}
	return p
}

// negative bounds the knowledge that there is no session.
func (s *Storage) negative(e *entry) *entry {
	e.watched = s.watch.watched.Load()
	life := s.options.negative
	if !e.watched && !s.options.exclusive {
		life = min(life, s.options.maxStale)
	}
	e.until = e.loaded + int64(life)
	return e
}

// horizon is the moment until which the entry may be served. Where the store tells
// no expiry, an exclusive process still knows that a session it wrote lives for its
// ttl, and must look again after that.
func (s *Storage) horizon(e *entry) int64 {
	stale := e.loaded + int64(s.options.maxStale)
	if e.snapshot == nil {
		return 0
	}
	at, known := e.snapshot.Expires()
	vouched := s.options.exclusive || e.watched
	switch {
	case known && at.IsZero():
		if vouched {
			return never
		}
		return stale
	case known:
		expiry := s.moment(at)
		if vouched {
			return expiry
		}
		return min(stale, expiry)
	case s.options.exclusive:
		return max(stale, e.kept)
	default:
		return stale
	}
}
