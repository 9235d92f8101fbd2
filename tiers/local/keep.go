package local

import (
	"strings"
	"time"

	"github.com/gf-strata/strata/telemetry"
)

// held is what memory knows of the id, and the view by which that may be served: an entry
// without snapshot says that there is no session. It is nil where nothing is current. It is
// called under the turn, as bound and keep are.
func (s *Storage) held(hash uint64, id string) (*entry, view) {
	e, v := s.look(hash)
	if e != nil && e.stamp == v.stamp && e.id == id && e.snapshot != nil {
		return e, v
	}
	if e = s.negatives.find(hash); e != nil && e.stamp == v.stamp {
		return e, v
	}
	return nil, v
}

// bound bounds an entry by what is known of its expiry.
func (s *Storage) bound(hash uint64, e *entry) {
	e.watched = s.watch.watched.Load()
	if e.absent {
		e.until = s.horizonOfAbsence(e)
		return
	}
	if before := s.find(hash); before != nil && before.id == e.id && before.stamp == e.stamp {
		e.kept = max(e.kept, before.kept)
	}
	e.until = s.horizon(e)
}

// keep puts an entry where it is found.
func (s *Storage) keep(hash uint64, e *entry) {
	e.hash = hash
	e.rested, e.alone = false, false
	if e.absent {
		e.id = ""
		s.negatives.put(e)
		return
	}
	e.id = strings.Clone(e.id) // it may be a part of something large
	s.gate.do(hash, func() {
		if e.snapshot == nil || e.size() > mostSmall {
			s.set(hash, &parcel{awake: e}, e.cost())
			s.warm.drop(hash)
			return
		}
		before := s.find(hash)
		e.alone = before == nil || before.alone
		s.warm.put(e.compact(), s.rest)
	})
}

// cost is what an entry takes awake, in bytes, about.
func (e *entry) cost() int64 {
	return parcelBytes + int64(len(e.id)) + e.size()
}

func (e *entry) size() int64 {
	if e.snapshot == nil {
		return 0
	}
	return e.snapshot.Size()
}

// set is called under the hash's turn and inside the gate.
func (s *Storage) set(hash uint64, p *parcel, cost int64) {
	s.keeping.turn(hash).give(hash)
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
	if e, first := s.warm.use(hash); e != nil {
		if first {
			s.taken(hash) // what is used often stays in ristretto
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

// taken is what ristretto has under the hash, nil for nothing.
func (s *Storage) taken(hash uint64) (p *parcel) {
	if s.gate.enter(hash) {
		p, _ = s.cache.Get(hash)
		s.gate.leave(hash)
	}
	return p
}

// horizonOfAbsence is the moment until which it is known that there is no session.
func (s *Storage) horizonOfAbsence(e *entry) int64 {
	life := s.limits.Load().negative
	if !e.watched && !s.options.exclusive {
		life = min(life, s.limits.Load().maxStale)
	}
	return later(e.loaded, life)
}

// later is a moment that comes some time after another.
func later(moment int64, d time.Duration) int64 {
	if int64(d) > never-moment {
		return never
	}
	return moment + int64(d)
}

// horizon is the moment until which the entry may be served. Where the store tells
// no expiry, an exclusive process still knows that a session it wrote lives for its
// ttl, and must look again after that.
func (s *Storage) horizon(e *entry) int64 {
	stale := later(e.loaded, s.limits.Load().maxStale)
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
