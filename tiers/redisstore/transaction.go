package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// transact is a write that compares, for a server that refuses scripts: it watches the key, compares what is there,
// and writes in a transaction, which the server drops if the key has changed since
// (https://redis.io/docs/latest/develop/using-commands/transactions). That takes two round trips, and a connection meanwhile.
// In a cluster it fails with errMoving while the session's slot moves and the session itself has moved already. A Limiter of a
// client of another type can't be seen, and could refuse to end what it had let begin.
func (o *operation) transact(ctx context.Context, key, version string, next []byte, ms int64) (did outcome, w *write, err error) {
	w = newWrite(ctx, key, true, version, next, ms)
	switch o.client.(type) {
	case *redis.Client, *redis.ClusterClient:
	default:
		return outcome{}, w, errWrapped
	}
	o.starts()
	err = o.tracker.Watch(ctx, key, func(tx *redis.Tx) (err error) {
		get := redis.NewCmd(ctx, "get", key)
		if err = o.open(ctx, tx, key, get); err != nil {
			return err
		}
		clean := false
		defer func() {
			if !clean {
				giveUp(ctx, tx)
			}
		}()
		text, found, err := replyOrNil[string](get)
		if err != nil {
			return err
		}
		if found {
			did.found = []byte(text)
		}
		if versionOf(did.found) != version {
			discard := redis.NewCmd(ctx, "discard")
			_ = tx.Process(ctx, discard)
			said, failed := reply[string](discard)
			clean = failed == nil && said == "OK"
			return nil
		}
		did, clean, err = w.execute(ctx, tx)
		return err
	})
	if redis.HasErrorPrefix(err, "ASK") {
		return outcome{}, w, errMoving
	}
	return did, w, fault.New(ctx, "WATCH", err)
}

// open sends a command that reads a key, and begins a transaction that depends on what the key holds. The write is sent
// only then: where MULTI is refused it would be executed alone.
func (s *Storage) open(ctx context.Context, tx *redis.Tx, key string, read command) error {
	watch := &write{Cmd: redis.NewCmd(ctx, "watch", key)} // which isn't sent again within the transaction
	multi := redis.NewCmd(ctx, "multi")
	begun := false
	defer func() { // also if a hook panics
		if !begun {
			giveUpAfter(ctx, tx, watch, read, multi)
		}
	}()
	_ = tracking.Together(ctx, tx.Pipeline(), watch, read, multi)
	_, err := reply[string](watch)
	if err == nil {
		_, err = reply[string](multi)
	}
	begun = err == nil
	return err
}

// execute sends the write and ends the transaction, and reports whether that is over.
func (w *write) execute(ctx context.Context, tx *redis.Tx) (did outcome, over bool, err error) {
	exec := redis.NewCmd(ctx, "exec")
	_ = tracking.Together(ctx, tx.Pipeline(), w, exec)
	replies, executed, err := replyOrNil[[]any](exec)
	switch {
	case err == nil && !executed: // the key has changed
		return outcome{unknown: true}, true, nil
	case err == nil && len(replies) == 1 && replies[0] == "OK":
		return outcome{done: true}, true, nil
	case err == nil:
		err = fault.ErrReply
	case redis.HasErrorPrefix(err, "EXECABORT") && w.Err() != nil: // the write was refused
		did, err = w.outcome(ctx)
		return did, true, err
	}
	return outcome{}, false, err
}

// giveUpAfter closes the connection of commands that were sent together, if the server has replied: else there is none any
// more, or never was, and go-redis would make one.
func giveUpAfter(ctx context.Context, tx *redis.Tx, commands ...command) {
	for _, c := range commands {
		if value, err := c.Result(); value != nil || fault.IsReply(err) {
			giveUp(ctx, tx)
			return
		}
	}
}

// giveUp closes the connection of a transaction. The client's hooks aren't asked: one that lets nothing through, as a
// circuit breaker, would have the connection go back to the pool within the transaction, and the server only queue what others
// send on it.
func giveUp(ctx context.Context, tx *redis.Tx) {
	var last innermost
	tx.AddHook(&last)
	_ = last.process(ctx, &write{Cmd: redis.NewCmd(ctx, "ping", unsendable{})}) // which isn't sent again
}

// innermost is the last hook of a transaction: what it sends is sent.
type innermost struct{ process redis.ProcessHook }

func (i *innermost) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	i.process = next
	return next
}

func (*innermost) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*innermost) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// unsendable is an argument with which go-redis closes the connection that it is sent on.
type unsendable struct{}

func (unsendable) MarshalBinary() ([]byte, error) { return nil, errUnsendable }

var (
	errUnsendable = tiers.NewError("strata: redis: the connection of a transaction is given up", nil)
	errMoving     = tiers.NewError("strata: redis: WATCH: the session moves to another master of the cluster, and can't be written meanwhile "+
		"by a user who may not run EVAL; allow it, or try again", nil)
	errWrapped = tiers.NewError("strata: redis: WATCH: the server refuses EVAL, and no transaction is safe through a client of this type; "+
		"pass a *redis.Client or a *redis.ClusterClient, or allow EVAL", nil)
)
