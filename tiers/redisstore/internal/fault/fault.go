// Package fault names what went wrong with Redis, in words that quote neither ids, keys,
// values nor addresses (law 10).
package fault

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// New names the operation and the kind of fault in words of our own: go-redis and
// Redis may quote keys and addresses. errors.Is and errors.As reach the cause, and
// find context.DeadlineExceeded where the context's deadline cut a command short,
// which go-redis reports as a time-out of the connection.
func New(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	if deadline, ok := ctx.Deadline(); ok && kind == timedOut && !time.Now().Before(deadline) {
		err = errors.Join(context.DeadlineExceeded, err)
	}
	return tiers.NewError("strata: redis: "+op+": "+kind, err)
}

const timedOut = "timed out"

// ErrReply is the error of a command without a reply, or with one that it doesn't have.
var ErrReply = errors.New("no reply, or one that the command doesn't have; see what is between this process and Redis")

// IsReply reports whether an error is a reply of the server.
func IsReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func kindOf(err error) string {
	var (
		reply  redis.Error
		number syscall.Errno
		name   *net.DNSError
		wait   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, ErrReply):
		return ErrReply.Error()
	case errors.Is(err, context.Canceled):
		return "cancelled by the caller"
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "timed out waiting for a free connection; raise PoolSize"
	case errors.As(err, &name):
		return "the server's host name isn't found"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return timedOut
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return "the server closed the connection; if it does so again, see its log, whether it has as many clients as it takes, and whether a session is larger than proto-max-bulk-len"
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed; close the chain first"
	case errors.As(err, &reply):
		code := Code(reply.Error())
		if strings.HasSuffix(code, lacking) {
			code += "; it needs GET, GETRANGE, SET, DEL, PTTL and PEXPIRE, and EVAL and EVALSHA or else WATCH, MULTI, EXEC and DISCARD"
		}
		return code
	default:
		return "failed"
	}
}

// advice says, by an error's code, what to do about errors of Redis that the code doesn't explain.
var advice = map[string]string{
	"WRONGTYPE":   "the key holds no session; give sessions keys of their own with redisstore.Prefix",
	"READONLY":    "the server is a replica; connect to the master",
	"MOVED":       "the server is part of a cluster; use redisstore.New(redis.NewClusterClient(...))",
	"ASK":         "the server is part of a cluster; use redisstore.New(redis.NewClusterClient(...))",
	"OOM":         "the server is out of memory",
	"NOAUTH":      "the server wants a password",
	"WRONGPASS":   "the user or password is wrong",
	"NOPERM":      "the user may not run the command, or not on this key; ACL LOG on the server names it",
	"NOREPLICAS":  "the server has too few replicas to take a write",
	"MISCONF":     "the server can't save to its disk and takes no writes",
	"LOADING":     "the server is starting",
	"CLUSTERDOWN": "the cluster isn't complete",
}

// refusal is a reply that a server would have given to a command outside a script.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// Inner is the error of the command that failed within a script, where the server has put it behind
// an ERR: Redis 6 does so with every error ("ERR Error running script (call to f_…):
// @user_script:1: @user_script: 1: -OOM command not allowed"), all servers with a right that the
// user lacks. Any other error is returned as it is.
func Inner(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) || !strings.HasPrefix(reply.Error(), "ERR ") {
		return err
	}
	text := reply.Error()
	if strings.Contains(text, "The user executing the script can't") || strings.Contains(text, "ACL failure in script") {
		return refusal("NOPERM " + text)
	}
	if n := strings.LastIndex(text, "@user_script"); n >= 0 {
		_, line, _ := strings.Cut(text[n:], ":")
		_, inner, _ := strings.Cut(line, ": ")
		inner = strings.TrimPrefix(inner, "-")
		if code, _, _ := strings.Cut(inner, " "); IsCode(code) {
			return refusal(inner)
		}
	}
	return err
}

// Code is the code that a reply begins with, and what to do about it.
func Code(reply string) string {
	code, _, _ := strings.Cut(reply, " ")
	if !IsCode(code) {
		return "refused by the server"
	}
	more := advice[code]
	switch code {
	case "ERR":
		more = plain(strings.ToLower(reply))
	case "NOPERM", "EXECABORT":
		more = cmp.Or(right(reply), more)
	}
	if more != "" {
		return code + ": " + more
	}
	return code
}

// right names the right that a user lacks, as far as the server does.
func right(reply string) string {
	_, rest, _ := strings.Cut(strings.ToLower(reply), "no permissions to ")
	command, _, named := strings.Cut(strings.TrimPrefix(rest, "run the '"), "'")
	switch {
	case strings.HasPrefix(rest, "access") && strings.Contains(rest, "key"):
		return "the user may not use the key; grant the prefix, as ~app:* does for app:"
	case !named || strings.Trim(command, "abcdefghijklmnopqrstuvwxyz|") != "":
		return ""
	case strings.HasPrefix(command, "eval"):
		return "the user may not run scripts; grant +eval and +evalsha, or else +watch, +multi, +exec and +discard"
	}
	return "the user may not run " + command + "; grant +" + command
}

// words are parts of the ERR replies of servers and proxies, each with what to do about it. The first that is
// found counts.
var words = []struct{ reply, advice string }{
	{"select is not allowed", onlyZero},
	{"db index", onlyZero},
	{"max number of clients", "the server takes no more connections; lower PoolSize, or raise the server's limit"},
	{"bulk length", tooLarge},
	{"request size", tooLarge},
	{"maximum allowed size", tooLarge},
	{"limit exceeded", "the server's or the plan's limit is reached"},
	{"unknown command", lacking},
	{"unknown subcommand", lacking},
	{"not supported", lacking},
	{"unsupported", lacking},
	{"not allowed", lacking},
	{"not available", lacking},
	{"disabled", lacking},
}

const (
	onlyZero = "the server doesn't have this database; use database 0"
	lacking  = "the server doesn't have, or allow, the command"
	tooLarge = "the session is larger than the server takes, see its proto-max-bulk-len or the plan's limit; nothing was written"
)

// IsTooLarge reports whether a server, or a proxy, refuses a command for its size.
func IsTooLarge(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasSuffix(Code(reply.Error()), tooLarge)
}

// IsRefusal reports whether a server doesn't have the command, or the user may not run it, or not the EXEC of a transaction.
func IsRefusal(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	code := Code(reply.Error())
	return strings.HasPrefix(code, "NOPERM") || strings.HasSuffix(code, lacking) ||
		strings.HasPrefix(reply.Error(), "EXECABORT") && strings.Contains(reply.Error(), ": NOPERM")
}

// plain returns what to do about an ERR, if that is known.
func plain(reply string) string {
	for _, w := range words {
		if strings.Contains(reply, w.reply) {
			return w.advice
		}
	}
	return ""
}

// IsCode reports whether a word can only be a code: short and of capital letters.
func IsCode(word string) bool {
	return word != "" && len(word) <= 16 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
