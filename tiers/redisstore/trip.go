package redisstore

import (
	"cmp"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// mostPaths bounds the search for a connection to the server that is watched.
const mostPaths = 4

var errReply = errors.New("no reply, or one that the command doesn't have; see what is between this process and Redis")

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
	var err error
	for range mostPaths {
		p := s.paths.take()
		err = p.send(ctx, commands)
		s.paths.give(p)
		if !errors.Is(err, errUnproven) { // or else nothing has been sent
			break
		}
		s.paths.leave(p)
		for _, c := range commands {
			c.SetErr(nil)
		}
	}
	for _, c := range commands {
		if value, own := c.Result(); value == nil && own == nil {
			c.SetErr(cmp.Or(err, errReply))
		}
	}
}

// reply is what the server replied to a command, of the type that the command has.
func reply[T any](c command) (value T, err error) {
	value, ok, err := replyOrNil[T](c)
	if err == nil && !ok {
		err = errReply
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
		err = errReply
	}
	return value, ok, err
}

// yesOrNo is the reply of a command that says with 1 or 0 whether there was a key.
func yesOrNo(c command) (bool, error) {
	n, err := reply[int64](c)
	if err == nil && n != 0 && n != 1 {
		err = errReply
	}
	return n == 1, err
}
