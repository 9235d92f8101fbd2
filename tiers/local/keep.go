package local

import (
	"sync"
	"sync/atomic"

	"github.com/gf-strata/strata/telemetry"
)

// keeping has entries of one hash kept one at a time.
type keeping [64]sync.Mutex

// keep puts an entry into the cache, bounded by what is known of its expiry. One that is
// outdated already mustn't take the place of a current one, nor what was loaded earlier
// that of what was loaded later.
func (s *Storage) keep(hash uint64, e *entry) {
	turn := &s.keeping[hash%uint64(len(s.keeping))]
	turn.Lock()
	defer turn.Unlock()
	if e.stamp != s.guard.Stamp(hash) {
		return
	}
	cost := entryBytes + int64(len(e.id))
	if e.snapshot != nil {
		cost += e.snapshot.Size()
		if before, ok := s.lookup(hash); ok && before.id == e.id && before.stamp == e.stamp && before.ttl == e.ttl {
			if before.loaded > e.loaded {
				return // a load that was slow
			}
			e.kept = max(e.kept, before.kept)
		}
	}
	e.watched = s.watch.watched.Load()
	e.until = s.horizon(e)
	s.gate.do(hash, func() {
		if _, taken := s.cache.Get(hash); !taken && cost <= maxArrival(s.options.maxBytes) {
			s.arrivals.note(hash, e)
		} else {
			s.arrivals.forget(hash, e.id)
		}
		if s.cache.Set(hash, e, cost) {
			s.sessions.Add(1)
		} else {
			s.tally.Add(telemetry.RejectedByQueue)
		}
	})
}

// entryBytes is what an entry takes beside its snapshot and id, here and in
// ristretto's two maps.
const entryBytes = 240

// lookup finds what was kept last under the hash. It may be another session's.
func (s *Storage) lookup(hash uint64) (e *entry, ok bool) {
	e = s.taken(hash)
	if stamp := s.guard.Stamp(hash); e == nil || e.stamp != stamp {
		if newer := s.arrivals.find(hash); newer != nil && (e == nil || newer.stamp == stamp) {
			e = newer
		}
	}
	return e, e != nil && !s.gate.closed()
}

// taken is what ristretto has under the hash, nil for nothing.
func (s *Storage) taken(hash uint64) (e *entry) {
	if s.gate.enter(hash) {
		e, _ = s.cache.Get(hash)
		s.gate.leave(hash)
	}
	return e
}

// maxArrivals bounds arrivals in number.
const maxArrivals = 256

// maxArrival bounds one of them, so that all take 4 MiB at most, or a quarter of MaxBytes.
func maxArrival(maxBytes int64) int64 { return min(16<<10, maxBytes/4/maxArrivals) }

// arrivals are entries that ristretto may not have yet: it takes a new key some time after
// Set, and not at all where too many come at once. A session that was just read, or has just
// begun, is found here meanwhile. Whether it may be served is for its stamp to say, as ever.
//
// The slots are atomic, and those of one hash are written under its turn of keeping, but
// that others may take a slot at any time.
type arrivals [maxArrivals]atomic.Pointer[entry]

func (a *arrivals) slot(hash uint64) *atomic.Pointer[entry] { return &a[hash%maxArrivals] }

func (a *arrivals) note(hash uint64, e *entry) { a.slot(hash).Store(e) }

// forget drops an entry that ristretto has, as the two would differ from now on.
func (a *arrivals) forget(hash uint64, id string) {
	if e := a.find(hash); e != nil && e.id == id {
		a.slot(hash).CompareAndSwap(e, nil)
	}
}

func (a *arrivals) find(hash uint64) *entry { return a.slot(hash).Load() }

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
