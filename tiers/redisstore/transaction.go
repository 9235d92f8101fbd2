package redisstore

import (
	"cmp"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// transact is a write that compares, for a server that refuses scripts: it watches the key, compares what is there,
// and writes in a transaction, which the server drops if the key has changed since
// (https://redis.io/docs/latest/develop/using-commands/transactions). That takes three round trips, and a connection
// meanwhile. In a cluster it fails with errMoving while the session's slot moves and the session itself has moved already.
func (o *operation) transact(ctx context.Context, key, version string, next []byte, ms int64) (did outcome, w *write, err error) {
	w = newWrite(ctx, key, true, version, next, ms)
	o.starts()
	called := false
	err = o.tracker.Watch(ctx, key, func(tx *redis.Tx) (err error) {
		called = true
		if did.found, err = watched(ctx, tx, key); err == nil && versionOf(did.found) == version {
			did, err = w.execute(ctx, tx)
		}
		return err
	})
	if err == nil && !called { // go-redis has followed MaxRedirects redirections
		return outcome{}, w, errMoving
	}
	return did, w, fault.New(ctx, "WATCH", err)
}

// watched returns what a key holds, nil for none, and has a transaction that follows depend on that. An empty
// transaction before shows that the server takes one: without MULTI it would execute the write alone.
func watched(ctx context.Context, tx *redis.Tx, key string) ([]byte, error) {
	multi, exec := redis.NewCmd(ctx, "multi"), redis.NewCmd(ctx, "exec")
	watch, get := redis.NewCmd(ctx, "watch", key), redis.NewCmd(ctx, "get", key)
	pipe := tx.Pipeline()
	_ = pipe.BatchProcess(ctx, multi, exec, watch, get) // EXEC has ended the WATCH before
	_, _ = pipe.Exec(ctx)
	for _, c := range []command{multi, watch} {
		if _, err := reply[string](c); err != nil {
			return nil, err
		}
	}
	if _, _, err := replyOrNil[[]any](exec); err != nil { // nil if the key has changed since the WATCH before
		return nil, err
	}
	text, found, err := replyOrNil[string](get)
	if err != nil || !found {
		return nil, err
	}
	return []byte(text), nil
}

// execute sends the write as a transaction.
func (w *write) execute(ctx context.Context, tx *redis.Tx) (outcome, error) {
	pipe := tx.TxPipeline()
	_ = pipe.Process(ctx, w)
	_, err := pipe.Exec(ctx)
	err = cmp.Or(err, w.Err()) // a hook of the client's may keep the first to itself
	if errors.Is(err, redis.TxFailedErr) {
		return outcome{unknown: true}, nil
	}
	// MULTI was refused: the write may have been executed alone, and replies of it are left to be read.
	alone := fault.IsReply(err) && !passes(err) && !redis.HasErrorPrefix(err, "EXECABORT")
	if alone || redis.HasErrorPrefix(w.Err(), "READONLY") { // or the master was demoted, and the address may have left it
		_ = tx.Process(ctx, redis.NewCmd(ctx, "ping", unsendable{}))
	}
	if alone {
		return outcome{}, fault.ErrReply
	}
	return w.outcome(ctx)
}

// unsendable is an argument with which go-redis closes the connection that it is sent on. By itself go-redis does so
// when a single command gets READONLY.
type unsendable struct{}

func (unsendable) MarshalBinary() ([]byte, error) { return nil, errUnsendable }

var (
	errUnsendable = tiers.NewError("strata: redis: the connection of a transaction is given up", nil)
	errMoving     = tiers.NewError("strata: redis: WATCH: the session moves to another master of the cluster, and can't be written meanwhile "+
		"by a user who may not run EVAL; allow it, or try again", nil)
)
