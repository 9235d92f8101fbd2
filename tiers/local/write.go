package local

import (
	"context"
	"math"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// Commit passes the delta on, and keeps what the store says that it became, unless
// another write of the id was heard of meanwhile. Whatever the outcome, nothing
// older is served afterwards (law 3): a commit that failed may have been applied.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	hash := s.guard.Hash(id)
	stamp := s.guard.Stamp(hash)
	began := s.now()
	done := false
	defer func() {
		if !done {
			s.guard.Bump(hash)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if err != nil {
		return snapshot, err
	}
	done = true
	if snapshot.Told() && s.sources.told.Load() {
		return snapshot, nil // kept, in the order in which commits happened
	}
	if delta.Empty() {
		s.extend(hash, id, ttl, s.start.Add(time.Duration(began)+ttl))
		return snapshot, nil
	}
	if next, ok := s.guard.BumpFrom(hash, stamp); ok && (snapshot != nil || s.options.exclusive) {
		s.keep(hash, &entry{
			id: id, ttl: ttl, snapshot: snapshot, stamp: next, loaded: began,
			// GoFrame's stores cut a time to live to whole seconds.
			kept: began + int64(ttl.Truncate(time.Second)),
		})
	}
	return snapshot, nil
}

// Slide is passed on where the store doesn't tell what it achieves. Where it does,
// the expiry is set to a tenth more than ttl, and a slide is skipped as long as the
// session then still lives for all of ttl: a session in use never expires early,
// and none outlives its ttl by more than that tenth (law 8). A layer below that thins
// slides itself is left to it.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	hash := s.guard.Hash(id)
	e, ok := s.lookup(hash)
	if !ok || ttl <= 0 || !e.current(id, ttl, s.guard.Stamp(hash), s.now()) {
		return s.inner.Slide(ctx, id, ttl)
	}
	at, known := e.snapshot.Expires()
	if !known || at.IsZero() {
		return s.inner.Slide(ctx, id, ttl)
	}
	longer := ttl
	if !s.thinned && ttl < math.MaxInt64/2 {
		longer += ttl / 10
	}
	if left := time.Until(at); !s.thinned && left >= ttl && left <= longer {
		return at, nil
	}
	until, err := s.inner.Slide(ctx, id, longer)
	switch {
	case err == nil && until.IsZero(): // the store tells, and has no such session
		s.guard.Bump(hash)
	case err == nil && !until.Equal(at): // not one that was skipped below
		s.extend(hash, id, ttl, until)
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
	defer s.guard.Bump(s.guard.Hash(id))
	err := s.inner.RemoveAll(ctx, id)
	if err == nil {
		s.face.Removed(id)
	}
	return err
}
