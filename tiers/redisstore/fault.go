package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// fault names the operation and the kind of fault in words of our own: go-redis and
// Redis may quote keys and addresses. errors.Is and errors.As reach the cause, and
// find context.DeadlineExceeded where the context's deadline cut a command short,
// which go-redis reports as a time-out of the connection.
func fault(ctx context.Context, op string, err error) error {
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

func kindOf(err error) string {
	var (
		answer redis.Error
		number syscall.Errno
		name   *net.DNSError
		wait   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errReply):
		return errReply.Error()
	case errors.Is(err, context.Canceled):
		return "cancelled by the caller"
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "timed out waiting for a free connection; raise PoolSize"
	case errors.As(err, &name):
		return "the server's host name isn't found"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return timedOut
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the server closed the connection"
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed"
	case errors.As(err, &answer):
		return codeOf(answer.Error())
	default:
		return "failed"
	}
}

// advice is what to do about the answers of Redis that aren't plain from the code.
var advice = map[string]string{
	"WRONGTYPE":   "the key holds no session; give sessions keys of their own with redisstore.Prefix",
	"READONLY":    "the server is a replica; connect to the master",
	"MOVED":       "the server is part of a cluster; use redisstore.New(redis.NewClusterClient(...))",
	"ASK":         "the server is part of a cluster; use redisstore.New(redis.NewClusterClient(...))",
	"OOM":         "the server is out of memory",
	"NOAUTH":      "the server wants a password",
	"WRONGPASS":   "the user or password is wrong",
	"NOPERM":      "the user may not run the command, or not on this key",
	"NOREPLICAS":  "the server has too few replicas to take a write",
	"MISCONF":     "the server can't save to its disk and takes no writes",
	"LOADING":     "the server is starting",
	"CLUSTERDOWN": "the cluster isn't complete",
}

// codeOf is the code that an answer begins with, and what to do about it. A script
// of Redis before 7 hides the code of the command that failed behind its own.
func codeOf(answer string) string {
	code, _, _ := strings.Cut(answer, " ")
	if code == "ERR" && strings.Contains(answer, "WRONGTYPE") {
		code = "WRONGTYPE"
	}
	switch {
	case !isCode(code):
		return "refused by the server"
	case code == "ERR" && lacks(answer):
		return "ERR: " + lacking
	}
	if more := advice[code]; more != "" {
		return code + ": " + more
	}
	return code
}

// lacking is said of a server, or a proxy before it, that doesn't have a command.
const lacking = "the server doesn't have, or allow, the command; it needs EVAL, EVALSHA, GET, GETRANGE, SET, DEL, PTTL and PEXPIRE"

func lacks(answer string) bool {
	answer = strings.ToLower(answer)
	return slices.ContainsFunc([]string{"unknown command", "not supported", "unsupported", "not allowed", "not available", "disabled"},
		func(words string) bool { return strings.Contains(answer, words) })
}

// isCode reports whether a word can only be a code: short and of capital letters.
func isCode(word string) bool {
	return word != "" && len(word) <= 16 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
