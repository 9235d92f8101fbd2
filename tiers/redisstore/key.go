package redisstore

import (
	"math"
	"time"

	"github.com/gf-strata/strata/tiers"
)

var errTTL = tiers.NewError("strata: redis: a session needs a time to live; pass a positive ttl", nil)

// key is the session's key on the server. Any bytes make a key of their own.
func (s *Storage) key(id string) (string, error) {
	if err := tiers.CheckID(id); err != nil {
		return "", err
	}
	return s.prefix + id, nil
}

// millis is the ttl in Redis' unit. A part of a millisecond counts as one, so that
// no session ends early.
func millis(ttl time.Duration) (int64, error) {
	if ttl <= 0 {
		return 0, errTTL
	}
	ms := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		ms++
	}
	return ms, nil
}

// after is the moment so many milliseconds later, 292 years at most.
func after(at time.Time, ms int64) time.Time {
	return at.Add(time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond)
}
