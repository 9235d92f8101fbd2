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

// Slide is passed on if the store doesn't return what it achieves. If it does,
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
	hash := s.memory.guard.Hash(id)
	at, known, _ := s.memory.expiry(hash, id)
	return s.slide(ctx, hash, id, ttl, at, known)
}

// slide slides the expiry of a session. Memory serves it no longer than the store holds it by
// then, or may hold it.
func (s *Storage) slide(ctx context.Context, hash uint64, id string, ttl time.Duration, at time.Time, known bool) (time.Time, error) {
	longer := ttl
	if known {
		longer = tenthMore(ttl)
	}
	if left := time.Until(at); !at.IsZero() && ttl > 0 && left >= ttl && left <= longer {
		s.tally.AddAt(telemetry.SlideSkipped, hash)
		return at, nil
	}
	c, began := s.order.begin(hash, true), s.memory.now()
	until, err := time.Time{}, error(errAborted)
	defer func() {
		switch {
		case err != nil, until.IsZero() && !known:
			s.order.cap(c, id, later(began, longer))
		case until.IsZero(): // the store returns expiries, and has no such session
			s.order.wrote(c, nil)
		case until.Equal(at): // skipped below
			s.order.leave(c)
		default:
			s.order.slid(c, id, ttl, until)
		}
	}()
	sets := longer
	if s.sends(hash); s.thinner != nil {
		sets = ttl
	}
	until, err = s.inner.Slide(ctx, id, sets)
	return until, err
}

// tenthMore is what is set for a ttl, so that the next slides can be skipped.
func tenthMore(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl >= math.MaxInt64/2 {
		return ttl
	}
	return ttl + ttl/10
}

// sends counts a slide that the layer below is asked for, unless that counts its own.
func (s *Storage) sends(hash uint64) {
	if s.thinner == nil {
		s.tally.AddAt(telemetry.SlideSent, hash)
	}
}

// unchanged is the close of a request that changed nothing. If the store returns
// expiries it is a Slide, of a session that memory holds: then one that is gone is noticed
// by that. Elsewhere the storage below looks, and the entry lives longer only if that
// returns what it has set.
func (s *Storage) unchanged(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	at, known, keys := s.memory.expiry(hash, id)
	if s.thinner == nil && known && keys > 0 {
		until, err := s.slide(ctx, hash, id, ttl, at, known)
		gone := err == nil && until.IsZero() // or the layer below doesn't know
		if !gone && !errors.Is(err, gsession.ErrorDisabled) {
			return nil, err
		}
	}
	c, began := s.order.begin(hash, true), s.memory.now()
	err := error(errAborted)
	var snapshot *tiers.Snapshot
	defer func() {
		until := s.reported(id, snapshot)
		switch {
		case err != nil:
			s.order.wrote(c, nil)
		case until.IsZero():
			s.order.cap(c, id, later(began, tenthMore(ttl)))
		case until.After(at) || at.Sub(until) > sameExpiry:
			s.order.slid(c, id, ttl, until)
		default:
			s.order.leave(c)
		}
	}()
	snapshot, err = s.inner.Commit(ctx, id, delta, ttl)
	return snapshot, err
}

// sameExpiry is how much earlier an expiry may be that isn't another one.
const sameExpiry = 10 * time.Millisecond

// reported is the expiry that the layers below returned with an unchanged close, zero for none.
func (s *Storage) reported(id string, state *tiers.Snapshot) (until time.Time) {
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
