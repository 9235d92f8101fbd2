package tracking

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// unsupportedError is wrapped around what shows that a server can't notify, or may not.
type unsupportedError struct{ error }

func (u unsupportedError) Unwrap() error { return u.error }

var (
	errNoRESP3 = unsupportedError{errors.New("it goes on in RESP2")}
	errDeaf    = tiers.NewError("strata: redis: a write was followed by no invalidation, as behind a proxy that drops them", nil)
)

// passing are the beginnings of replies that don't show whether a server supports tracking, such as one to a wrong
// password.
var passing = slices.Concat(noData, full, crowded, redirected, []string{"NOAUTH ", "WRONGPASS ", "READONLY "})

// crowded is the reply of a server that has as many clients as it takes.
var crowded = []string{"ERR max number of clients"}

// redirected are the replies of a cluster's node that doesn't take a key.
var redirected = []string{"MOVED ", "ASK ", "TRYAGAIN "}

// noData are the replies of a server that serves no data for now.
var noData = []string{"LOADING ", "BUSY ", "MASTERDOWN ", "CLUSTERDOWN "}

// full are the replies of a server that takes no writes for now.
var full = []string{"OOM ", "MISCONF ", "NOREPLICAS "}

// says reports whether a server's reply begins in one of these ways.
func says(err error, starts []string) bool {
	var reply redis.Error
	return errors.As(err, &reply) &&
		slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(reply.Error(), start) })
}

// asUnsupported is the error of a command without which no invalidations come. Proxies and managed
// servers refuse one in words of their own, so that each reply which doesn't pass counts.
func asUnsupported(err error) error {
	if !isRefused(err) {
		return err
	}
	return unsupportedError{err}
}

func isRefused(err error) bool { return fault.IsReply(err) && !says(err, passing) }

// unsupported is why a server can't notify, nil where it may.
func unsupported(err error) error {
	var (
		u     unsupportedError
		reply redis.Error
	)
	if !errors.As(err, &u) {
		return nil
	}
	reason := u.error.Error()
	if errors.As(u.error, &reply) {
		reason = fault.Code(reply.Error())
	}
	return tiers.NewError("strata: redis: the server sends no invalidations: "+reason+needs, err)
}

const needs = "; it takes Redis 6 with RESP3, or the server's notify-keyspace-events set to Kg$xe, and a user that may run " +
	"CLIENT TRACKING or PSUBSCRIBE, SET and DEL under the prefix and, in a cluster, CLUSTER NODES"

// reason is why a watch session has ended.
func reason(err error) error {
	if err == nil {
		return nil
	}
	if unsupported := unsupported(err); unsupported != nil {
		return unsupported
	}
	var ours *tiers.Error
	if errors.As(err, &ours) {
		return tiers.NewError(ours.Error(), err)
	}
	return fault.New(context.Background(), "the connection for invalidations", err)
}
