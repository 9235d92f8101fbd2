package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// swapScript writes ARGV[2] with ARGV[3] milliseconds to live if the key's value
// has the digest ARGV[1], or if there is no key and ARGV[1] is empty. It answers 1,
// or what it found instead: the value, or nil for no key.
var swapScript = redis.NewScript(`
local value = redis.call('GET', KEYS[1])
local digest = ''
if value then
	digest = redis.sha1hex(value)
end
if digest ~= ARGV[1] then
	return value
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)

// absent is the version of a session that isn't there.
const absent = ""

// swap writes content if the session still has the version, and answers whether it
// did, and else what the key holds, nil for no key.
func (s *Storage) swap(ctx context.Context, m *measured, key, version string, content []byte, ms int64) (done bool, found []byte, err error) {
	if err = ctx.Err(); err != nil {
		return false, nil, fault(ctx, "EVAL", err)
	}
	m.send()
	if version == absent {
		if done, err = s.begin(ctx, key, content, ms); done || err != nil {
			return done, nil, err
		}
	}
	answer, err := swapScript.Run(ctx, s.client, []string{key}, hexOf(version), content, ms).Result()
	if err == redis.Nil {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fault(ctx, "EVAL", err)
	}
	if answer == int64(1) {
		return true, nil, nil
	}
	if found, ok := answer.(string); ok {
		return false, []byte(found), nil
	}
	return false, nil, fault(ctx, "EVAL", errReply)
}

// begin writes content if there is no key, without a script, which takes the server ten
// times as long.
func (s *Storage) begin(ctx context.Context, key string, content []byte, ms int64) (done bool, err error) {
	cmd := redis.NewCmd(ctx, "set", key, content, "px", ms, "nx")
	s.roundTrip(ctx, cmd)
	status, done, err := replyOrNil[string](cmd)
	if done && status != "OK" {
		err = errReply
	}
	return done && err == nil, fault(ctx, "SET", err)
}

// put writes content whatever the key holds.
func (s *Storage) put(ctx context.Context, m *measured, key string, content []byte, ms int64) error {
	if err := ctx.Err(); err != nil {
		return fault(ctx, "SET", err)
	}
	cmd := redis.NewCmd(ctx, "set", key, content, "px", ms)
	m.send()
	s.roundTrip(ctx, cmd)
	status, err := reply[string](cmd)
	if err == nil && status != "OK" {
		err = errReply
	}
	return fault(ctx, "SET", err)
}
