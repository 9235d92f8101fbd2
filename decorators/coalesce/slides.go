package coalesce

import (
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/generations"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// slidesKept bounds each of the two generations of expiries that are remembered.
const slidesKept = 1 << 15

// slides remember when the store was last asked to drop which session, for the last 32,768
// sessions at least, in 5 MiB at most, and skip a slide that comes soon after. One that is
// forgotten is sent again. Ids are kept as 64-bit hashes under a random seed.
//
// The first block is set at construction; mu guards the rest.
type slides struct {
	every float64 // of the ttl
	tally *telemetry.Tally

	mu      sync.Mutex
	all     generations.Map[uint64, expiry] // by the id's hash
	forgets uint64                          // how often one was forgotten
	closed  bool
}

// expiry is the moment that the store was given; known says whether the store returns what it
// holds.
type expiry struct {
	at      time.Time
	known   bool
	emptied bool // by a commit that may have left no session
}

var slideSeed = maphash.MakeSeed()

func hashOf(id string) uint64 { return maphash.String(slideSeed, id) }

// moment is the expiry as the store would return it.
func (e expiry) moment() time.Time {
	if !e.known {
		return time.Time{}
	}
	return e.at
}

func (s *slides) set(id string, e expiry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Put(hashOf(id), e, slidesKept)
}

func (s *slides) get(id string) (e expiry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Get(hashOf(id))
}

func (s *slides) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Delete(hashOf(id))
	s.forgets++
}

// slid notes what a slide has set. Of what has set an expiry meanwhile, the earlier one is kept: the store may have done
// them in either order, and one that is too early costs a slide. One that was forgotten meanwhile stays so.
func (s *slides) slid(id string, at time.Time, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := hashOf(id)
	if e, ok := s.all.Get(hash); ok {
		if at.Before(e.at) {
			e.at = at
		}
		e.known = e.known || known
		s.all.Put(hash, e, slidesKept)
	}
}

func (s *slides) clock() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgets
}

// learn notes the expiry of a session that was loaded, later or earlier than the known one: another
// program may have set it, and one that is too early costs a slide, as the zero time of a session
// without one does. It doesn't if a session has been removed since the clock was read: it may
// have been this one.
func (s *slides) learn(id string, loaded *tiers.Snapshot, clock uint64) {
	if loaded == nil {
		return
	}
	at, known := loaded.Expires()
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := hashOf(id)
	if e, ok := s.all.Get(hash); known && s.forgets == clock && !(ok && e.emptied) {
		s.all.Put(hash, expiry{at: at, known: !at.IsZero()}, slidesKept)
	}
}

// landed notes the expiry that a write has set. One that only removes keys may have left no session, and a repeated one
// may have set no expiry.
func (s *slides) landed(w *write, at time.Time) {
	if w.snapshot == nil && w.delta.IsConditional() {
		at = time.Time{}
	}
	emptied := w.empties() && (w.snapshot == nil || w.snapshot.Len() == 0)
	s.set(w.id, expiry{at: at, known: w.snapshot != nil, emptied: emptied})
}

// longer returns the expiry that is set for a ttl, so that the next slides can be skipped.
func (s *slides) longer(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl >= math.MaxInt64/2 {
		return ttl
	}
	return ttl + time.Duration(float64(ttl)*s.every)
}

// skips reports whether the session still lives for all of its ttl, so that it needn't be slid.
func (s *slides) skips(id string, ttl time.Duration) (until time.Time, skips bool) {
	s.mu.Lock()
	e, ok := s.all.Get(hashOf(id))
	ok = ok && !s.closed
	s.mu.Unlock()
	if left := time.Until(e.at); ok && left >= ttl && left <= s.longer(ttl) {
		s.tally.Add(telemetry.SlideSkipped)
		return e.moment(), true
	}
	return time.Time{}, false
}

// close has no slide skipped any more.
func (s *slides) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
