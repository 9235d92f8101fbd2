package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// headBytes is how much of a value is looked at to tell whether it is an empty
// session, which GoFrame writes as "{}".
const headBytes = 16

// touch slides the expiry of a session that a request was given and hasn't changed,
// and finds out whether it is still there: a session without keys counts as gone.
func (s *Storage) touch(ctx context.Context, m *measured, key string, base *tiers.Snapshot, ms int64) error {
	if err := ctx.Err(); err != nil {
		return fault(ctx, "PEXPIRE", err)
	}
	pipe := s.client.Pipeline()
	expire := redis.NewBoolCmd(ctx, "pexpire", key, ms)
	_ = pipe.Process(ctx, expire)
	head := pipe.GetRange(ctx, key, 0, headBytes-1)
	m.send()
	_, _ = pipe.Exec(ctx)
	if err := expire.Err(); err != nil {
		return fault(ctx, "PEXPIRE", err)
	}
	content, err := head.Bytes()
	if err != nil && err != redis.Nil {
		return fault(ctx, "GETRANGE", err)
	}
	if base.Len() == 0 || len(content) == headBytes {
		return nil
	}
	current, err := decode(content)
	if err != nil {
		return err
	}
	if current == nil || current.Len() == 0 {
		return tiers.ErrRevoked
	}
	return nil
}
