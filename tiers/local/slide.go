package local

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

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
	at, _ := s.expiry(hash, id)
	if at.IsZero() {
		s.sends(hash)
		return s.inner.Slide(ctx, id, ttl)
	}
	return s.slide(ctx, hash, id, ttl, at)
}

// expiry is when the session that memory holds ends, and how many keys it has; zero where
// there is none that stands, or where the store doesn't tell.
func (s *Storage) expiry(hash uint64, id string) (at time.Time, keys int) {
	e, v := s.look(hash)
	if e == nil || !e.stands(id, v) {
		return time.Time{}, 0
	}
	at, _ = e.snapshot.Expires()
	return at, e.snapshot.Len()
}

// slide slides the expiry of a session that is known to end at a moment.
func (s *Storage) slide(ctx context.Context, hash uint64, id string, ttl time.Duration, at time.Time) (time.Time, error) {
	longer := ttl
	if ttl < math.MaxInt64/2 {
		longer += ttl / 10
	}
	if left := time.Until(at); left >= ttl && left <= longer {
		s.tally.AddAt(telemetry.SlideSkipped, hash)
		return at, nil
	}
	c := s.begin(hash, true)
	until, err := time.Time{}, error(errAborted)
	defer func() {
		switch {
		case err != nil || until.Equal(at): // skipped below
			s.leave(c)
		case until.IsZero(): // the store tells, and has no such session
			s.wrote(c, nil)
		default:
			s.slid(c, id, ttl, until)
		}
	}()
	if s.sends(hash); s.thinner != nil {
		longer = ttl
	}
	until, err = s.inner.Slide(ctx, id, longer)
	return until, err
}

// sends counts a slide that the layer below is asked for, unless that counts its own.
func (s *Storage) sends(hash uint64) {
	if s.thinner == nil {
		s.tally.AddAt(telemetry.SlideSent, hash)
	}
}

// unchanged is the close of a request that changed nothing. Where the store tells of
// expiries it is a Slide, of a session that memory holds: then one that is gone is noticed
// by that. Elsewhere the storage below looks, and the entry lives longer only where that
// tells what it has set.
func (s *Storage) unchanged(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	at, keys := s.expiry(hash, id)
	if s.thinner == nil && !at.IsZero() && keys > 0 {
		until, err := s.slide(ctx, hash, id, ttl, at)
		switch {
		case err == nil && until.IsZero() && delta.Base().Len() > 0:
			return nil, tiers.ErrRevoked
		case !errors.Is(err, gsession.ErrorDisabled):
			return nil, err
		}
	}
	c, ended := s.begin(hash, true), false
	defer func() {
		if !ended {
			s.wrote(c, nil)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if err != nil {
		return snapshot, err
	}
	ended = true
	if until := s.told(id, snapshot); !at.IsZero() && until.After(at) {
		s.slid(c, id, ttl, until)
	} else {
		s.leave(c)
	}
	return snapshot, nil
}

// told is the expiry that the layers below have told with an unchanged close, zero for none.
func (s *Storage) told(id string, state *tiers.Snapshot) (until time.Time) {
	switch {
	case state != nil:
		until, _ = state.Expires()
	case s.thinner != nil:
		until = s.thinner.Slid(id)
	}
	return until
}

// UpdateTTL is Slide.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}
