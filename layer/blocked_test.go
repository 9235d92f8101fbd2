package layer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// never is a time-out that doesn't end anything in a test.
const never = time.Hour

// resolver is the Dialer of a client whose name server can hang: then it returns when its context ends. As a hook
// of the user's client alone it can end that one's dials, which Close doesn't.
// ended and end are set at the start; mu guards the rest.
type resolver struct {
	hook
	mu    sync.Mutex
	hangs bool
	conns []net.Conn
	ended context.Context // ends the dials of the user's client
	end   func()
}

func (r *resolver) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.mu.Lock()
	hangs := r.hangs
	r.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hangs { // since
		_ = conn.Close()
	}
	r.conns = append(r.conns, conn)
	return conn, nil
}

func (r *resolver) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.ended, cancel)()
		return next(ctx, network, addr)
	}
}

// hang has the name server hang, and all connections end.
func (r *resolver) hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangs = true
	for _, conn := range r.conns {
		_ = conn.Close()
	}
}

// watched begins a session, and returns when memory serves it: then the storage has connections of its own.
func watched(t *testing.T, chain *layer.Stack) {
	t.Helper()
	ctx := context.Background()
	tier, _ := layer.As[*local.Storage](chain)
	if !poll.Try(func() bool { // the time-outs are short
		return chain.SetSession(ctx, "watched", gmap.NewStrAnyMapFrom(map[string]any{"n": 1}, true), time.Hour) == nil
	}) || !poll.Try(func() bool {
		_, err := chain.GetSession(ctx, "watched", time.Hour)
		return err == nil && tier.Tally().Total(telemetry.ReadHit) > 0
	}) {
		t.Fatal("memory serves nothing")
	}
}

// blocked checks that no request waits for a store that returns nothing, nor does Close, unless the store ignores
// its contexts: what is under way then may still be applied.
func blocked(t *testing.T, chain *layer.Stack, deaf bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for n, request := range []func(id string) error{
		func(id string) error { _, err := chain.GetSession(ctx, id, time.Hour); return err },
		func(id string) error {
			return chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": 1}, true), time.Hour)
		},
		func(id string) error { return chain.RemoveAll(ctx, id) },
		func(id string) error { return chain.UpdateTTL(ctx, id, time.Minute) },
	} {
		if !poll.Try(func() bool { return errors.Is(request(fmt.Sprint(time.Now().UnixNano())), circuit.ErrOpen) }) {
			t.Errorf("request %d: the circuit doesn't open", n)
		}
		if ctx.Err() != nil {
			t.Errorf("request %d has waited for its caller's deadline", n)
		}
	}
	if deaf {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := chain.Close(short); err == nil || ctx.Err() != nil {
			t.Errorf("Close of a chain whose store is under way returns %v", err)
		}
	} else if err := chain.Close(ctx); ctx.Err() != nil {
		t.Errorf("Close has waited until its deadline: %v", err)
	}
}

// A name server hangs. Requests end by the chain's time-outs, and at once when the circuits are open.
func TestAResolverThatHangs(t *testing.T) {
	server := redistest.Start(t)
	for name, early := range map[string]bool{"from the beginning": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			r := &resolver{}
			r.ended, r.end = context.WithCancel(context.Background())
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), Dialer: r.dial, DialTimeout: never, ReadTimeout: never, PoolTimeout: never})
			client.AddHook(r)
			chain := layer.Chain(redisstore.New(client), layer.Coalesced(layer.WriteTimeout(100*time.Millisecond)), layer.Local(layer.LoadTimeout(100*time.Millisecond)))
			if !early {
				watched(t, chain)
			}
			r.hang()
			blocked(t, chain, false)
			_ = client.Close()
			r.end()
			leaktest.Ended(t, before)
		})
	}
}

// hook holds up what it is called for while it is closed, until the context ends unless it is deaf. mu guards
// closed.
type hook struct {
	deaf   bool // to contexts
	mu     sync.Mutex
	closed chan struct{}
}

func (h *hook) wait(ctx context.Context) error {
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if closed == nil {
		return nil
	}
	ended := ctx.Done()
	if h.deaf {
		ended = nil
	}
	select {
	case <-closed:
		return nil
	case <-ended:
		return ctx.Err()
	}
}

func (h *hook) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = make(chan struct{})
}

func (h *hook) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.closed)
	h.closed = nil
}

func (h *hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := h.wait(ctx); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := h.wait(ctx); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// A hook of the client's blocks. Requests end by the chain's time-outs, also if it ignores its context, and at
// once when the circuits are open.
func TestAHookThatBlocks(t *testing.T) {
	server := redistest.Start(t)
	for name, deaf := range map[string]bool{"until its context ends": false, "for good": true} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: never})
			h := &hook{deaf: deaf}
			client.AddHook(h)
			chain := layer.Chain(redisstore.New(client), layer.Coalesced(layer.WriteTimeout(100*time.Millisecond)), layer.Local(layer.LoadTimeout(100*time.Millisecond)))
			watched(t, chain)
			h.close()
			blocked(t, chain, deaf)
			_ = client.Close()
			if deaf {
				h.open()
			}
			leaktest.Ended(t, before)
		})
	}
}
