package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// swapSource writes ARGV[2] with ARGV[3] milliseconds to live if the key's value
// has the digest ARGV[1], or if there is no key and ARGV[1] is empty. It returns 1,
// or what it found instead: the value, or nil for no key.
const swapSource = `
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
`

var swapScript = redis.NewScript(swapSource)

// absent is the version of a session that isn't there.
const absent = ""

// write is one command that writes a session. It is sent once: the client's own retries
// don't ask what has become of an attempt whose reply was lost. Redirections of a cluster
// are followed, as a server that redirects hasn't executed the command.
//
// sent guards itself; the rest belongs to the goroutine that sends.
type write struct {
	*redis.Cmd
	sent atomic.Bool // the content was given to a connection
}

// NoRetry keeps go-redis from sending the command again.
func (*write) NoRetry() bool { return true }

// body is an argument that notes when it is written to a connection, which is the only
// time that go-redis marshals it.
type body struct {
	bytes []byte
	sent  *atomic.Bool
}

func (b body) MarshalBinary() ([]byte, error) {
	b.sent.Store(true)
	return b.bytes, nil
}

// String returns the bytes, for hooks of the client that print commands.
func (b body) String() string { return string(b.bytes) }

// compares reports whether a write has to compare what the server holds, which takes a script.
func compares(whole bool, version string) bool { return !whole && version != absent }

// newWrite is the command that makes the session next, if it still has the version, or
// whatever it holds.
func newWrite(ctx context.Context, key string, whole bool, version string, next []byte, ms int64) *write {
	w := &write{}
	value := body{next, &w.sent}
	switch {
	case compares(whole, version):
		w.Cmd = redis.NewCmd(ctx, "evalsha", swapScript.Hash(), 1, key, hexOf(version), value, ms)
	case whole:
		w.Cmd = redis.NewCmd(ctx, "set", key, value, "px", ms)
	default: // a script takes the server ten times as long
		w.Cmd = redis.NewCmd(ctx, "set", key, value, "px", ms, "nx")
	}
	return w
}

func (w *write) isScript() bool { return w.Name() != "set" }

// operation returns the command's name in an error.
func (w *write) operation() string {
	if w.isScript() {
		return "EVAL"
	}
	return "SET"
}

// script is the same with the script's text, for a server that doesn't know it.
func script(ctx context.Context, key, version string, next []byte, ms int64) *write {
	w := &write{}
	w.Cmd = redis.NewCmd(ctx, "eval", swapSource, 1, key, hexOf(version), body{next, &w.sent}, ms)
	return w
}

// outcome is the server's reply: the session was written, or the server found another value, nil for no key.
// A SET that finds a key doesn't return its value.
type outcome struct {
	done    bool
	unknown bool // it found something
	found   []byte
}

func (w *write) outcome(ctx context.Context) (did outcome, err error) {
	reply, err := w.Result()
	text, isText := reply.(string)
	switch {
	case err == redis.Nil:
		return outcome{unknown: !w.isScript()}, nil
	case err != nil:
	case w.isScript() && reply == int64(1), !w.isScript() && text == "OK":
		return outcome{done: true}, nil
	case w.isScript() && isText:
		return outcome{found: []byte(text)}, nil
	default:
		err = fault.ErrReply
	}
	if fault.IsTooLarge(err) {
		return outcome{}, failure.Refused(fault.New(ctx, w.operation(), err))
	}
	return outcome{}, fault.New(ctx, w.operation(), err)
}

// isUncertain reports whether a write that failed may have been applied, or may yet be. The
// server's own refusals are known by their codes; a proxy between may say ERR of a write
// that it has lost sight of.
func (w *write) isUncertain(err error) bool {
	var reply redis.Error
	if !w.sent.Load() || failure.IsFinal(err) {
		return false
	}
	if !errors.As(err, &reply) {
		return true
	}
	text := reply.Error()
	code, _, _ := strings.Cut(text, " ")
	return !fault.IsCode(code) || code == "ERR" && !strings.Contains(text, "script")
}

// isRefused reports whether the server doesn't take the commands of a write, and hasn't executed it.
func (w *write) isRefused(err error) bool { return fault.IsRefusal(err) && !w.isUncertain(err) }

// passes reports whether a fault may have gone a moment later.
func passes(err error) bool {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.ErrClosed), errors.Is(err, context.Canceled):
		return false
	case !errors.As(err, &reply):
		return true
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	switch code {
	case "LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MOVED", "ASK":
		return true
	}
	return false
}

// retriesOf is how often a client's owner wants a command to be repeated.
func retriesOf(client redis.UniversalClient) int {
	switch c := client.(type) {
	case *redis.Client:
		return c.Options().MaxRetries
	case *redis.ClusterClient:
		return c.Options().MaxRedirects
	}
	return 1
}
