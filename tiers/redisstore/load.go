package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// What PTTL answers beside a number of milliseconds.
const (
	pttlNever  = -1
	pttlAbsent = -2
)

// Load reads the session and its remaining time in one round trip. An absent key,
// an empty value and "null" are no session. The snapshot knows when it expires, and
// its version is the digest of the value. ttl isn't looked at.
func (s *Storage) Load(ctx context.Context, id string, _ time.Duration) (_ tiers.Read, err error) {
	defer s.measured(ctx, telemetry.Load, s.meter.Begin(), &err)
	key, err := s.key(id)
	if err != nil {
		return tiers.Read{}, err
	}
	for tries := 0; ; tries++ {
		content, left, before, err := s.read(ctx, key)
		if err != nil || len(content) == 0 {
			return tiers.Read{}, err
		}
		if left == pttlAbsent && tries < 3 {
			continue // created between the two commands: its time isn't known yet
		}
		snapshot, err := decode(content)
		if err != nil || snapshot == nil {
			return tiers.Read{}, err
		}
		switch {
		case left >= 0:
			snapshot = snapshot.Expiring(after(before, left))
		case left == pttlNever:
			snapshot = snapshot.Expiring(time.Time{})
		}
		return tiers.Read{Snapshot: snapshot}, nil
	}
}

// read asks for the remaining time first and counts it from before it asked: a
// value that is overwritten in between lives at least as long, where all use one ttl.
func (s *Storage) read(ctx context.Context, key string) (content []byte, left int64, before time.Time, err error) {
	if err = ctx.Err(); err != nil {
		return nil, 0, before, fault(ctx, "GET", err)
	}
	pipe := s.client.Pipeline()
	// Not pipe.PTTL, which overflows on what Redis takes.
	pttl := redis.NewIntCmd(ctx, "pttl", key)
	_ = pipe.Process(ctx, pttl)
	get := pipe.Get(ctx, key)
	before = time.Now()
	_, _ = pipe.Exec(ctx)
	if content, err = get.Bytes(); err == redis.Nil {
		return nil, 0, before, nil
	}
	if err != nil {
		return nil, 0, before, fault(ctx, "GET", err)
	}
	if left, err = pttl.Result(); err != nil {
		return nil, 0, before, fault(ctx, "PTTL", err)
	}
	return content, left, before, nil
}

// Slide sets the session's expiry to ttl from now, and answers the moment; the zero
// time where there is no session. It neither reads nor judges what the key holds.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (_ time.Time, err error) {
	defer s.measured(ctx, telemetry.Slide, s.meter.Begin(), &err)
	key, err := s.key(id)
	if err != nil {
		return time.Time{}, err
	}
	ms, err := millis(ttl)
	if err != nil {
		return time.Time{}, err
	}
	if err = ctx.Err(); err != nil {
		return time.Time{}, fault(ctx, "PEXPIRE", err)
	}
	// Not client.PExpire, which cuts what is below a millisecond.
	cmd := redis.NewBoolCmd(ctx, "pexpire", key, ms)
	before := time.Now()
	_ = s.client.Process(ctx, cmd)
	held, err := cmd.Result()
	if err != nil || !held {
		return time.Time{}, fault(ctx, "PEXPIRE", err)
	}
	return after(before, ms), nil
}
