package local

import (
	"math"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// This file decides whether an entry may be served: by its stamp, its end, the sources' lease and
// the invalidations after own writes. A read compares with a view; memory's methods here make
// views, and bound entries when they are kept.

// clock counts from the construction of the tier: a moment is nanoseconds since then.
type clock struct{ start time.Time }

func (c clock) now() int64 { return int64(time.Since(c.start)) }

func (c clock) moment(t time.Time) int64 { return int64(t.Sub(c.start)) }

func (c clock) time(moment int64) time.Time { return c.start.Add(time.Duration(moment)) }

// never is a moment that doesn't come.
const never = math.MaxInt64

// later is a moment that comes some time after another.
func later(moment int64, d time.Duration) int64 {
	if moment > 0 && int64(d) > never-moment {
		return never
	}
	return moment + int64(d)
}

// entry is one session in memory, or the knowledge that there is none.
//
// The fields that a hit reads come first, to be in one line of the processor's cache. No field is
// written once the entry is shared; own guards itself.
type entry struct {
	hash     uint64
	id       string
	snapshot *tiers.Snapshot // nil: packed, or there is no such session, or only until is known
	stamp    uint64          // the guard's, before the load began
	until    int64           // served before this moment; before bound: the store holds the session until then, or longer
	own      *ownWrite       // the write of this node that made it, or nil
	watched  bool            // served only while the sources vouch
	cached   bool            // ristretto was given it packed
	absent   bool            // there is no such session
	loaded   int64           // when the load began
}

// current reports whether the entry may be served for the id.
func (e *entry) current(id string, v view) bool { return e.stands(id, v) && v.vouches(e) }

// stands reports whether the entry has neither ended nor been invalidated. It doesn't ask the sources.
func (e *entry) stands(id string, v view) bool {
	return e.stamp == v.stamp && v.now < e.until && e.id == id && e.snapshot != nil && e.own.trusted(v.now)
}

// view is the state of the tier with which a read compares an entry. The vouch is read before the stamp:
// after a loss a source invalidates everything and then vouches anew, so that a read which sees the new lease also
// sees the new stamp.
type view struct {
	watched bool   // there are sources, and all are supported
	vouched int64  // they vouch until then
	stamp   uint64 // the guard's, of the id; held if an entry is kept under it
	now     int64  // read last
}

// vouches reports whether the sources allow the entry to be served.
func (v view) vouches(e *entry) bool { return !e.watched || v.now < v.vouched }

// serves reports whether an entry that is current is served.
func (v view) serves(e *entry) bool {
	return v.now < e.until && v.vouches(e) && e.own.trusted(v.now)
}

// look returns the entry that was kept last under the hash, nil for none, and the view that
// decides whether it is served. The stamp is read after the lookup as well, so that the entry
// can't be newer.
func (m *memory) look(hash uint64) (*entry, view) {
	v := view{watched: m.watch.watched.Load(), vouched: m.watch.until.Load()}
	e := m.lookup(hash)
	v.stamp, v.now = m.guard.Stamp(hash), m.now()
	return e, v
}

// held returns the entry of the id if it wasn't invalidated, else nil, and the view that decides whether it is
// served. An entry without a snapshot says that there is no session. It is called under the stripe's lock, as
// bound and keep are.
func (m *memory) held(hash uint64, id string) (*entry, view) {
	e, v := m.look(hash)
	if e != nil && e.stamp == v.stamp && e.id == id && e.snapshot != nil {
		return e, v
	}
	if e = m.absences.find(hash); e != nil && e.stamp == v.stamp {
		return e, v
	}
	return nil, v
}

// stale returns the state in memory when the store has failed, if it wasn't invalidated and is within the bound of
// ServeStale. A session of which the store returns no expiry ends when it wasn't loaded for its time to live.
func (m *memory) stale(hash uint64, id string, ttl time.Duration) (*tiers.Snapshot, bool) {
	bound := m.limits.Load().ServeStale
	if bound == 0 {
		return nil, false
	}
	vouched := m.watch.stood() // before the view, as in it
	e, v := m.look(hash)
	if e == nil || e.snapshot == nil || e.id != id || e.stamp != v.stamp || !e.own.trusted(v.now) {
		return nil, false
	}
	expiry := m.ends(e.snapshot)
	if _, known := e.snapshot.Expires(); !known && ttl > 0 {
		expiry = max(later(e.loaded, ttl), e.until)
	}
	end := e.until
	if e.watched {
		end = vouched
	}
	return e.snapshot, v.now < min(later(end, bound), expiry)
}

// ends returns the moment at which the store drops a session, never if that isn't known.
func (m *memory) ends(s *tiers.Snapshot) int64 {
	if at, known := s.Expires(); known && !at.IsZero() {
		return m.moment(at)
	}
	return never
}

// expiry returns when the session in memory ends (the zero time if it never does) and how many keys it has. It isn't
// known if memory doesn't hold the session, or the store returns no expiry.
func (m *memory) expiry(hash uint64, id string) (at time.Time, known bool, keys int) {
	e, v := m.look(hash)
	if e == nil || !e.stands(id, v) {
		return time.Time{}, false, 0
	}
	at, known = e.snapshot.Expires()
	return at, known, e.snapshot.Len()
}

// refused counts why an entry in memory couldn't be served.
func (m *memory) refused(hash uint64, e *entry, v view) {
	switch {
	case e.stamp != v.stamp:
		m.tally.AddAt(telemetry.RefusedInvalidated, hash)
	case v.now >= e.until:
		m.tally.AddAt(telemetry.RefusedExpired, hash)
	case !v.vouches(e):
		m.tally.AddAt(telemetry.RefusedUnvouched, hash)
	case !e.own.trusted(v.now):
		m.tally.AddAt(telemetry.RefusedUnread, hash)
	}
}

// overlapWindow is the greatest age of a load that is joined although no source vouches: its result may be so old.
const overlapWindow = 50 * time.Millisecond

// joinable returns the moment at which a load may have begun at the earliest if a reader is to join it now. If the
// sources vouch, there was no invalidation since any load began. Else a load that waits for a slow network may
// return a state that the store held long ago.
func (m *memory) joinable(v view) (oldest int64) {
	switch {
	case m.options.Exclusive, v.watched && v.now < v.vouched:
		return math.MinInt64
	case v.watched:
		return v.now - int64(overlapWindow)
	default:
		return v.now - int64(max(m.limits.Load().MaxStale, overlapWindow))
	}
}

// bound sets until when an entry is served.
func (m *memory) bound(e *entry) {
	e.watched = m.watch.watched.Load()
	e.until = m.horizon(e)
}

// horizon is the moment until which the entry may be served, or is known to be absent. If the store
// returns no expiry, an exclusive process still knows that a session it wrote lives for its
// ttl, and must look again after that.
func (m *memory) horizon(e *entry) int64 {
	if e.snapshot == nil && !e.absent {
		return e.until
	}
	stale := later(e.loaded, m.limits.Load().MaxStale)
	if e.absent { // a store that doesn't say when sessions expire may not have been the one that is vouched for
		return stale
	}
	expiry := m.ends(e.snapshot)
	switch _, known := e.snapshot.Expires(); {
	case !known && m.options.Exclusive:
		return max(stale, e.until)
	case known && (m.options.Exclusive || e.watched):
		return expiry
	default:
		return min(stale, expiry)
	}
}
