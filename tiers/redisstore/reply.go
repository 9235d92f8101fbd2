package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// The replies of PTTL beside a number of milliseconds.
const (
	pttlNever  = -1
	pttlAbsent = -2
)

// question is the two commands that read a session. The remaining time is asked for first, and counted from
// before that: a value that is overwritten in between lives at least as long, if all use one ttl.
type question struct{ pttl, get *redis.Cmd }

func ask(ctx context.Context, key string) question {
	return question{redis.NewCmd(ctx, "pttl", key), redis.NewCmd(ctx, "get", key)}
}

// reply is no content where there is no session.
func (q question) reply(ctx context.Context) (content []byte, left int64, err error) {
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

// loaded makes the result of a Load of its content and of its remaining time, counted from before. Content from
// which known was made isn't decoded again.
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

func expire(ctx context.Context, key string, ms int64) *redis.Cmd {
	return redis.NewCmd(ctx, "pexpire", key, ms)
}

// headBytes is how much of a value is looked at to see if it is an empty
// session, which GoFrame writes as "{}".
const headBytes = 16

// reply returns the server's reply to a command, which must have the command's type.
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
