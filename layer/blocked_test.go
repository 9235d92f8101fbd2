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
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// never is a time-out that doesn't end anything in a test.
const never = time.Hour

// resolver is the Dialer of a client whose name server can hang: then it returns when its context ends.
// mu guards its fields.
type resolver struct {
	mu    sync.Mutex
	hangs chan struct{} // closed if it goes on; nil if it doesn't hang
	conns []net.Conn
}

func (r *resolver) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.mu.Lock()
	hangs := r.hangs
	r.mu.Unlock()
	if hangs != nil {
		select {
		case <-hangs:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conn)
	return conn, err
}

// hang has the name server hang, and all connections end.
func (r *resolver) hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangs = make(chan struct{})
	for _, conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *resolver) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.hangs)
	r.hangs = nil
}

// noneLeft fails the test unless all goroutines end that have begun since.
func noneLeft(t *testing.T, before goleak.Option) {
	t.Helper()
	var left error
	if !polled(20*time.Second, func() bool {
		left = goleak.Find(before)
		return left == nil
	}) {
		t.Error(left)
	}
}

// blocked checks that no request waits for a store that returns nothing, nor does Close.
func blocked(t *testing.T, chain *layer.Stack) {
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
		if !polled(20*time.Second, func() bool { return errors.Is(request(fmt.Sprint(time.Now().UnixNano())), circuit.ErrOpen) }) {
			t.Errorf("request %d: the circuit doesn't open", n)
		}
		if ctx.Err() != nil {
			t.Errorf("request %d has waited for its caller's deadline", n)
		}
	}
	if err := chain.Close(ctx); ctx.Err() != nil {
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
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), Dialer: r.dial, DialTimeout: never, ReadTimeout: never, PoolTimeout: never})
			chain := layer.Chain(redisstore.New(client), layer.Coalesced(layer.WriteTimeout(100*time.Millisecond)), layer.Local(layer.LoadTimeout(100*time.Millisecond)))
			if !early {
				begun(t, chain, numbered("s", 3))
			}
			r.hang()
			blocked(t, chain)
			_ = client.Close()
			if early { // the user's client still dials, as Close doesn't end that
				r.resume()
			}
			noneLeft(t, before)
		})
	}
}
