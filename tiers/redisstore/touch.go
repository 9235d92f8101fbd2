package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// headBytes is how much of a value is looked at to tell whether it is an empty
// session, which GoFrame writes as "{}".
const headBytes = 16

// touch slides the expiry of a session that a request was given and hasn't changed,
// and finds out whether it is still there: a session without keys counts as gone.
func (s *Storage) touch(ctx context.Context, m *measured, key string, base *tiers.Snapshot, ms int64) error {
	if err := ctx.Err(); err != nil {
		return fault.New(ctx, "PEXPIRE", err)
	}
	expiry := expire(ctx, key, ms)
	head := redis.NewCmd(ctx, "getrange", key, 0, headBytes-1)
	m.send()
	s.roundTrip(ctx, expiry, head)
	if _, err := yesOrNo(expiry); err != nil {
		return fault.New(ctx, "PEXPIRE", err)
	}
	text, err := reply[string](head)
	if err != nil {
		return fault.New(ctx, "GETRANGE", err)
	}
	content := []byte(text)
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
