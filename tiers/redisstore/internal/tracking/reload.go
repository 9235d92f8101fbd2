package tracking

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// replyTime is how long a command to a cluster waits before its client asks anew who has which slots.
const replyTime = time.Second

// reloader has a cluster's client ask who has which slots when a master sends no reply. By itself the client asks
// after a redirection, which a master that hangs or has vanished doesn't send, or after a minute; and it asks any
// node, which may be that one, without a bound of its own.
//
// turn holds one token while the client asks, which guards last; the rest is set at construction.
type reloader struct {
	cluster *redis.ClusterClient
	wait    time.Duration // replyTime
	life    context.Context
	end     context.CancelFunc
	turn    chan struct{}
	last    time.Time
}

// newReloader returns nil for a client without a cluster.
func newReloader(client redis.UniversalClient) *reloader {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	r := &reloader{cluster: cluster, wait: replyTime, turn: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// during calls send, and has the client ask if that takes long, or ends without a reply.
func (r *reloader) during(send func() error) error {
	if r == nil {
		return send()
	}
	late := time.AfterFunc(r.wait, r.reload)
	err := send()
	if err == nil || fault.IsReply(err) || errors.Is(err, context.Canceled) {
		late.Stop()
	} else {
		late.Reset(0)
	}
	return err
}

// reload returns when a node has replied, or none hangs. The client asks in any order, and asks no other node after one
// that hangs, so that the first attempts are short.
func (r *reloader) reload() {
	select {
	case r.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-r.turn }()
	hangs := time.Since(r.last) > r.wait
	for bound := r.wait; hangs && r.life.Err() == nil; bound = min(2*bound, dialTimeout+ioTimeout) {
		deadline := time.Now().Add(bound)
		ctx, cancel := context.WithDeadline(r.life, deadline)
		_ = guarded(func() error {
			return r.cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
		})
		cancel()
		r.last = time.Now()
		hangs = !r.last.Before(deadline) // a connection knows that sooner than ctx
	}
}

// close returns when the client isn't asking, which it then won't do again.
func (r *reloader) close(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.end()
	select {
	case r.turn <- struct{}{}:
		<-r.turn
		return nil
	case <-ctx.Done():
		return fault.New(ctx, "Close", ctx.Err())
	}
}
