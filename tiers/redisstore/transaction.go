package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// transact is a write that compares, for a server that refuses scripts: it watches the key, compares what is there,
// and writes in a transaction, which the server drops if the key has changed since
// (https://redis.io/docs/latest/develop/using-commands/transactions). That takes three round trips, and a connection
// meanwhile. An empty transaction before that shows that the server takes one: without MULTI it would execute the
// write alone. In a cluster it fails with errMoving while the session's slot moves and the session itself has moved already.
func (o *operation) transact(ctx context.Context, key, version string, next []byte, ms int64) (did outcome, w *write, err error) {
	w = newWrite(ctx, key, true, version, next, ms)
	asked := false
	watched := func(tx *redis.Tx) error {
		asked = true
		multi, exec := redis.NewCmd(ctx, "multi"), redis.NewCmd(ctx, "exec")
		watch, get := redis.NewCmd(ctx, "watch", key), redis.NewCmd(ctx, "get", key)
		question := tx.Pipeline()
		for _, c := range []redis.Cmder{multi, exec, watch, get} { // EXEC has ended the WATCH before
			_ = question.Process(ctx, c)
		}
		_, _ = question.Exec(ctx)
		for _, c := range []command{multi, watch} {
			if _, err := reply[string](c); err != nil {
				return err
			}
		}
		if _, _, err := replyOrNil[[]any](exec); err != nil { // nil if the key has changed since the WATCH before
			return err
		}
		text, found, err := replyOrNil[string](get)
		if err != nil {
			return err
		}
		if found {
			did.found = []byte(text)
		}
		if versionOf(did.found) != version {
			return nil
		}
		pipe := tx.TxPipeline()
		_ = pipe.Process(ctx, w)
		switch _, err = pipe.Exec(ctx); {
		case errors.Is(err, redis.TxFailedErr):
			did = outcome{unknown: true}
			return nil
		case fault.IsReply(err) && !passes(err) && !redis.HasErrorPrefix(err, "EXECABORT"):
			return fault.ErrReply // of MULTI: the write may have been executed alone
		}
		did, err = w.outcome(ctx)
		return err
	}
	if err = o.tracker.Watch(ctx, key, watched); err == nil && !asked { // go-redis has followed MaxRedirects redirections
		return outcome{}, w, errMoving
	}
	return did, w, fault.New(ctx, "WATCH", err)
}

var errMoving = tiers.NewError("strata: redis: WATCH: the session moves to another master of the cluster, and can't be written meanwhile "+
	"by a user who may not run EVAL; allow it, or try again", nil)
