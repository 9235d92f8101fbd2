package redisstore

import (
	"cmp"
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// command is a *redis.Cmd, or holds one: it alone tells a reply from none.
type command interface {
	redis.Cmder
	Result() (any, error)
}

// roundTrip sends the commands together. Each has a reply or an error afterwards: go-redis
// leaves the commands of a pipeline without either if its connection can't be set up, by a
// wrong password for one, and a client's hook may keep an error to itself. A command that
// wasn't executed must never look like a session that isn't there.
func (s *Storage) roundTrip(ctx context.Context, commands ...command) {
	all := make([]redis.Cmder, len(commands))
	for n, c := range commands {
		all[n] = c
	}
	err := s.tracker.Send(ctx, all...)
	for _, c := range commands {
		if value, own := c.Result(); value == nil && own == nil {
			c.SetErr(cmp.Or(err, fault.ErrReply))
		}
	}
}

// reply is what the server replied to a command, of the type that the command has.
func reply[T any](c command) (value T, err error) {
	value, ok, err := replyOrNil[T](c)
	if err == nil && !ok {
		err = fault.ErrReply
	}
	return value, err
}

// replyOrNil is a reply that may be Redis' nil.
func replyOrNil[T any](c command) (value T, ok bool, err error) {
	got, err := c.Result()
	if err == redis.Nil {
		return value, false, nil
	}
	if value, ok = got.(T); err == nil && !ok {
		err = fault.ErrReply
	}
	return value, ok, err
}

// yesOrNo is the reply of a command that says with 1 or 0 whether there was a key.
func yesOrNo(c command) (bool, error) {
	n, err := reply[int64](c)
	if err == nil && n != 0 && n != 1 {
		err = fault.ErrReply
	}
	return n == 1, err
}
