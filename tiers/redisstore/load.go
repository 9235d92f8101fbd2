package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// What PTTL answers beside a number of milliseconds.
const (
	pttlNever  = -1
	pttlAbsent = -2
)

// Load reads the session and its remaining time in one round trip. An absent key,
// an empty value and "null" are no session. The snapshot knows when it expires, and
// its version is the digest of the value. ttl isn't looked at.
func (s *Storage) Load(ctx context.Context, id string, _ time.Duration) (tiers.Read, error) {
	m := s.measure()
	defer m.end(ctx, telemetry.Load)
	read, err := s.load(ctx, m, id)
	m.done(err)
	return read, err
}

func (s *Storage) load(ctx context.Context, m *measured, id string) (tiers.Read, error) {
	key, err := s.key(id)
	if err != nil {
		return tiers.Read{}, err
	}
	for tries := 0; ; tries++ {
		content, left, before, err := s.read(ctx, m, key)
		if err != nil || len(content) == 0 {
			return tiers.Read{}, err
		}
		if left == pttlAbsent && tries < 3 {
			continue // created between the two commands: its time isn't known yet
		}
		return loaded(content, left, before, nil)
	}
}

// loaded is the answer to a Load that got content, and left as its remaining time counted
// from before. Where it is what known was made of, it isn't decoded again.
func loaded(content []byte, left int64, before time.Time, known *tiers.Snapshot) (_ tiers.Read, err error) {
	var snapshot *tiers.Snapshot
	if known != nil && known.Version() == digest(content) {
		snapshot = known.Anew()
	} else if snapshot, err = decode(content); err != nil || snapshot == nil {
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

// read asks for a session, and answers also what time it has left, counted from before.
func (s *Storage) read(ctx context.Context, m *measured, key string) (content []byte, left int64, before time.Time, err error) {
	if err = ctx.Err(); err != nil {
		return nil, 0, before, fault.New(ctx, "GET", err)
	}
	q := ask(ctx, key)
	m.send()
	before = time.Now()
	s.roundTrip(ctx, q.pttl, q.get)
	content, left, err = q.answer(ctx)
	return content, left, before, err
}

// question is what is asked for a session. The remaining time comes first and is counted
// from before it was asked for: a value that is overwritten in between lives at least as
// long, where all use one ttl.
type question struct{ pttl, get *redis.Cmd }

func ask(ctx context.Context, key string) question {
	return question{redis.NewCmd(ctx, "pttl", key), redis.NewCmd(ctx, "get", key)}
}

// answer is no content where there is no session.
func (q question) answer(ctx context.Context) (content []byte, left int64, err error) {
	text, found, err := replyOrNil[string](q.get)
	if err != nil {
		return nil, 0, fault.New(ctx, "GET", err)
	}
	if found {
		content = []byte(text)
	}
	if left, err = reply[int64](q.pttl); err == nil && (left < pttlAbsent || found && text == "" && left == pttlAbsent) {
		err = fault.ErrReply
	}
	return content, left, fault.New(ctx, "PTTL", err)
}

// Slide sets the session's expiry to ttl from now, and answers the moment; the zero
// time where there is no session. It neither reads nor judges what the key holds.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	m := s.measure()
	defer m.end(ctx, telemetry.Slide)
	until, err := s.slide(ctx, m, id, ttl)
	m.done(err)
	return until, err
}

func (s *Storage) slide(ctx context.Context, m *measured, id string, ttl time.Duration) (time.Time, error) {
	key, err := s.key(id)
	if err != nil {
		return time.Time{}, err
	}
	ms, err := millis(ttl)
	if err != nil {
		return time.Time{}, err
	}
	if err = ctx.Err(); err != nil {
		return time.Time{}, fault.New(ctx, "PEXPIRE", err)
	}
	cmd := expire(ctx, key, ms)
	m.send()
	before := time.Now()
	s.roundTrip(ctx, cmd)
	held, err := yesOrNo(cmd)
	if err != nil || !held {
		return time.Time{}, fault.New(ctx, "PEXPIRE", err)
	}
	return after(before, ms), nil
}

func expire(ctx context.Context, key string, ms int64) *redis.Cmd {
	return redis.NewCmd(ctx, "pexpire", key, ms)
}
