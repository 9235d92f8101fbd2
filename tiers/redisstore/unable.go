package redisstore

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// unable is wrapped around what shows that a server can't announce changes.
type unable struct{ error }

func (u unable) Unwrap() error { return u.error }

var (
	errNoRESP3 = unable{errors.New("it goes on in RESP2")}
	errDeaf    = unable{errors.New("a change was announced to nobody, as by a proxy that keeps announcements to itself")}
)

// passing are the beginnings of answers that say nothing of what a server can do, the
// lack of the right password among them.
var passing = []string{"LOADING ", "BUSY ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "NOAUTH ", "WRONGPASS ", "ERR max number of clients",
	"OOM ", "MISCONF ", "NOREPLICAS ", "READONLY ", "MOVED ", "ASK "}

// able is the error of a command without which nothing is announced. Proxies and managed
// servers refuse one in words of their own, so that each answer which doesn't pass counts.
func able(err error) error {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return err
	}
	for _, start := range passing {
		if strings.HasPrefix(answer.Error(), start) {
			return err
		}
	}
	return unable{err}
}

// unsupported is why a server can't announce changes, nil where it may.
func unsupported(err error) error {
	var (
		u      unable
		answer redis.Error
	)
	if !errors.As(err, &u) {
		return nil
	}
	reason := u.error.Error()
	if errors.As(u.error, &answer) {
		reason = codeOf(answer.Error())
	}
	return tiers.NewError("strata: redis: the server can't announce changes: "+reason+
		"; it takes Redis 6 with RESP3, and a user that may run CLIENT TRACKING, SET and DEL under the prefix and, in a cluster, CLUSTER NODES", err)
}
