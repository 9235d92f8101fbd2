package local

import (
	"context"
	"math"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Commit passes the delta on, and keeps what the store says that it became, unless
// another write of the id was heard of meanwhile. Whatever the outcome, nothing
// older is served afterwards (law 3): a commit that failed may have been applied.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	hash := s.guard.Hash(id)
	if s.sources.told.Load() && !delta.Empty() {
		return s.commitTold(ctx, hash, id, delta, ttl)
	}
	token, stamp := s.echoes.begin(hash)
	began := s.now()
	done := false
	defer func() {
		if !done {
			s.echoes.finish(hash, token, nil)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if err != nil {
		return snapshot, err
	}
	done = true
	switch {
	case delta.Empty():
		s.extend(hash, token, stamp, id, ttl, s.start.Add(time.Duration(began)+ttl))
	case snapshot == nil && !s.options.exclusive:
		s.echoes.finish(hash, token, nil)
	default:
		s.echoes.finish(hash, token, &entry{
			id: id, ttl: ttl, snapshot: snapshot, loaded: began,
			// GoFrame's stores cut a time to live to whole seconds.
			kept: began + int64(ttl.Truncate(time.Second)),
		})
	}
	return snapshot, nil
}

// commitTold leaves it to the layer below that merges commits to say what the session
// has become: it does before the commit returns, in the order in which commits happen.
func (s *Storage) commitTold(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	began, stamp := s.now(), s.guard.Hold(hash)
	told := false
	defer func() {
		if !told {
			s.outdate(hash, telemetry.InvalidatedByWrite)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if told = err == nil && snapshot.Told(); err != nil || told || !s.options.exclusive {
		return snapshot, err
	}
	// The state isn't known, but that the store has it.
	if next, ok := s.guard.BumpFrom(hash, stamp); ok {
		told = true
		s.keep(hash, &entry{id: id, ttl: ttl, stamp: next, loaded: began, kept: began + int64(ttl.Truncate(time.Second))})
	}
	return snapshot, nil
}

// Slide is passed on where the store doesn't tell what it achieves. Where it does,
// the expiry is set to a tenth more than ttl, and a slide is skipped as long as the
// session then still lives for all of ttl: a session in use never expires early,
// and none outlives its ttl by more than that tenth (law 8). A layer below that thins
// slides itself says what it sets.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if s.thinner != nil {
		if until, skips := s.thinner.SkipsSlide(id, ttl); skips {
			return until, nil
		}
	}
	hash := s.guard.Hash(id)
	e, v := s.look(hash)
	if e == nil || ttl <= 0 || !e.stands(id, ttl, v) {
		return s.inner.Slide(ctx, id, ttl)
	}
	at, known := e.snapshot.Expires()
	if !known || at.IsZero() {
		return s.inner.Slide(ctx, id, ttl)
	}
	longer := ttl
	if ttl < math.MaxInt64/2 {
		longer += ttl / 10
	}
	if left := time.Until(at); left >= ttl && left <= longer {
		s.tally.AddAt(telemetry.SlideSkipped, hash)
		return at, nil
	}
	token, stamp := s.echoes.begin(hash)
	slid := false
	defer func() {
		if !slid {
			s.echoes.leave(hash)
		}
	}()
	if s.thinner != nil {
		longer = ttl
	} else {
		s.tally.AddAt(telemetry.SlideSent, hash)
	}
	until, err := s.inner.Slide(ctx, id, longer)
	switch {
	case err == nil && until.IsZero(): // the store tells, and has no such session
		s.outdate(hash, telemetry.InvalidatedByWrite)
	case err == nil && !until.Equal(at): // not one that was skipped below
		slid = true
		s.extend(hash, token, stamp, id, ttl, until)
	}
	return until, err
}

// UpdateTTL is Slide.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

// RemoveAll removes the session below, and here whatever the outcome.
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	defer s.outdate(s.guard.Hash(id), telemetry.InvalidatedByWrite)
	err := s.inner.RemoveAll(ctx, id)
	if err == nil {
		s.face.Removed(id)
	}
	return err
}
