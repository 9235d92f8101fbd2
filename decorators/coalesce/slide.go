package coalesce

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// slidesKept bounds each of the two generations of expiries that are remembered.
const slidesKept = 1 << 15

// slides remember when the store was last told to drop which session, for the last
// 32,768 sessions at least, in 5 MiB at most. One that is forgotten is told again. Ids are
// kept as 64-bit hashes under a random seed. mu guards all fields.
type slides struct {
	mu      sync.Mutex
	young   map[uint64]expiry
	old     map[uint64]expiry
	forgets uint64 // how often one was forgotten
}

// expiry is the moment that the store was given; told says whether the store answers
// what it holds.
type expiry struct {
	at      time.Time
	told    bool
	emptied bool // by a commit that may have left no session
}

var slideSeed = maphash.MakeSeed()

func hashOf(id string) uint64 { return maphash.String(slideSeed, id) }

func (s *slides) set(id string, e expiry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(hashOf(id), e)
}

// put is called under mu, as find is.
func (s *slides) put(hash uint64, e expiry) {
	if s.young == nil || len(s.young) >= slidesKept {
		s.old, s.young = s.young, map[uint64]expiry{}
	}
	s.young[hash] = e
}

func (s *slides) find(hash uint64) (e expiry, ok bool) {
	if e, ok = s.young[hash]; !ok {
		e, ok = s.old[hash]
	}
	return e, ok
}

func (s *slides) get(id string) (e expiry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(hashOf(id))
}

func (s *slides) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, hashOf(id))
	delete(s.old, hashOf(id))
	s.forgets++
}

// learn notes an expiry that the store has returned, later or earlier than the known one:
// somebody else may have set it, and one that is too early costs a slide, as the zero time of
// a session without one does. It doesn't if a session has been removed since forgets was read:
// it may have been this one.
func (s *slides) learn(id string, at time.Time, forgets uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := hashOf(id)
	if e, ok := s.find(hash); s.forgets == forgets && !(ok && e.emptied) {
		s.put(hash, expiry{at: at, told: !at.IsZero()})
	}
}

func (s *slides) clock() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgets
}

// SkipsSlide is what a Slide begins with.
func (s *Storage) SkipsSlide(id string, ttl time.Duration) (until time.Time, skips bool) {
	if ttl <= 0 {
		return time.Time{}, false
	}
	s.lanes.extend(id, ttl)
	until, _, skips = s.skips(id, ttl)
	return until, skips
}

// Slid is the expiry that the store was last given, or told.
func (s *Storage) Slid(id string) time.Time {
	e, _ := s.slides.get(id)
	return e.moment()
}

// skips also answers what a slide is to set.
func (s *Storage) skips(id string, ttl time.Duration) (until time.Time, longer time.Duration, skips bool) {
	longer = s.longer(ttl)
	if e, ok := s.slides.get(id); ok && !s.lanes.over() {
		if left := time.Until(e.at); left >= ttl && left <= longer {
			s.tally.Add(telemetry.SlideSkipped)
			return e.moment(), longer, true
		}
	}
	return time.Time{}, longer, false
}

// longer is what is set for a ttl, so that the next slides can be skipped.
func (s *Storage) longer(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl >= math.MaxInt64/2 {
		return ttl
	}
	return ttl + time.Duration(float64(ttl)*s.options.slideEvery)
}

// Slide sets the expiry to a part more than ttl, and does nothing as long as the
// session then still lives for all of ttl: a session in use never expires early, and
// none outlives its ttl by more than that part (law 8). Each node slides on its own.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if s.Style(ctx) == tiers.StyleOpaque || ttl <= 0 {
		return s.inner.Slide(ctx, id, ttl)
	}
	s.lanes.extend(id, ttl)
	until, _, err := s.slide(ctx, id, ttl)
	return until, err
}

// slide also answers whether the store was asked.
func (s *Storage) slide(ctx context.Context, id string, ttl time.Duration) (until time.Time, asked bool, err error) {
	until, longer, skips := s.skips(id, ttl)
	if skips {
		return until, false, nil
	}
	e, _ := s.slides.get(id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.lanes.timeout)
	defer cancel()
	// Known before it is done, so that those who slide meanwhile leave it to this one.
	at := time.Now().Add(longer)
	s.slides.set(id, expiry{at: at, emptied: e.emptied})
	s.tally.Add(telemetry.SlideSent)
	until, err = s.inner.Slide(ctx, id, longer)
	switch {
	case err != nil:
		s.slides.forget(id)
	case !until.IsZero():
		s.slides.set(id, expiry{at: at, told: true, emptied: e.emptied})
	}
	return until, true, err
}

// shortLife is the ttl below which GoFrame's stores, which slide every ten seconds,
// could let a session expire that is in use.
const shortLife = 20 * time.Second

// unchanged is the close of a request that changed nothing: a slide, where that keeps
// the session alive as surely as writing it again does.
func (s *Storage) unchanged(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	_, tells := delta.Base().Expires()
	switch {
	case s.lanes.extend(id, ttl):
		return nil, nil
	case ttl < shortLife && !tells:
		return s.now(ctx, id, delta, ttl)
	}
	if s.mayBeEmpty(id) {
		return s.now(ctx, id, delta, ttl) // which finds out whether it is still there
	}
	until, asked, err := s.slide(ctx, id, ttl)
	if errors.Is(err, gsession.ErrorDisabled) {
		return s.now(ctx, id, delta, ttl) // a store that can only write
	}
	if err == nil && asked && tells && until.IsZero() {
		return s.now(ctx, id, delta, ttl) // it is gone, or a layer below can't tell
	}
	return nil, err
}

// moment is the expiry as the store would tell it.
func (e expiry) moment() time.Time {
	if !e.told {
		return time.Time{}
	}
	return e.at
}

// UpdateTTL is Slide.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

var _ tiers.SlideThinner = (*Storage)(nil)
