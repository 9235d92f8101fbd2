package layer_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Nothing in a chain holds a connection of the client's while it waits for another one, and no request waits for
// good while there is none.
func TestAPoolOfFewConnections(t *testing.T) {
	t.Parallel()
	server, cluster := redistest.Start(t), redistest.StartCluster(t, 3)
	for name, poolTimeout := range map[string]time.Duration{"held, a short PoolTimeout": 20 * time.Millisecond, "held, a long one": never} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held(t, cluster, poolTimeout)
		})
	}
	for name, open := range map[string]func() redis.UniversalClient{
		"one server": func() redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: 1, PoolTimeout: never})
		},
		"cluster": func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster), PoolSize: 1, PoolTimeout: never})
		},
	} {
		for how, opts := range map[string][]layer.CoalescedOption{"synchronous": nil, "behind": {layer.WriteBehind(time.Millisecond)}} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				chain := func() *layer.Stack {
					client := open()
					t.Cleanup(func() { _ = client.Close() })
					c := layer.Chain(redisstore.New(client, redisstore.Prefix(how+":")), patientCoalesced(opts...), patientLocal(layer.Audited(1)), layer.Indexed(userOf))
					t.Cleanup(func() {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						defer cancel()
						if err := c.Close(ctx); err != nil {
							t.Error(err)
						}
					})
					return c
				}
				usersAndTheirSessions(t, chain(), chain())
			})
		}
	}
}

// held has the application hold all connections to each master. Memory serves on, other requests end by the
// chain's time-outs or the client's, and all is well again when the connections are back.
func held(t *testing.T, cluster *redistest.Cluster, poolTimeout time.Duration) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster), PoolSize: 2, PoolTimeout: poolTimeout})
	defer func() { _ = client.Close() }()
	chain := layer.Chain(redisstore.New(client), layer.Coalesced(layer.WriteTimeout(200*time.Millisecond)), layer.Local(layer.LoadTimeout(200*time.Millisecond)))
	ctx := context.Background()
	watched(t, chain)
	read := func(id string) error { _, err := chain.GetSession(ctx, id, time.Hour); return err }
	release := func() {}
	if !poll.Try(func() bool { // again if the session was still to be read again after it was written
		release()
		_ = read("watched")
		release = hold(t, client, 2)
		return read("watched") == nil
	}) {
		t.Error("memory serves nothing")
	}
	if poolTimeout < never && !poll.Try(func() bool {
		err := read("unknown")
		return errors.Is(err, redis.ErrPoolTimeout) && strings.Contains(err.Error(), "PoolSize")
	}) {
		t.Error("no error says that the pool is too small")
	}
	if poolTimeout == never && !poll.Try(func() bool { return errors.Is(read("unknown"), context.DeadlineExceeded) }) {
		t.Error("no read ends by the LoadTimeout")
	}
	release()
	if !poll.Try(func() bool { return read("unknown") == nil }) {
		t.Error("reads fail after the connections are back")
	}
	defer hold(t, client, 2)()
	blocked(t, chain, false)
}

// While the application holds all connections, what is asked of Users ends by a time-out of its own.
func TestUsersDontWaitForAPoolForEver(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster), PoolSize: 1, PoolTimeout: never})
	defer func() { _ = client.Close() }()
	chain := layer.Chain(redisstore.New(client), layer.Indexed(userOf))
	release := hold(t, client, 1)
	users, ctx := layer.Principals(chain), context.Background()
	ended := make(chan error, 8)
	for _, call := range []func() error{
		func() error { _, _, err := users.List(ctx, "john", ""); return err },
		func() error { _, _, err := users.All(ctx, ""); return err },
		func() error { _, err := users.Count(ctx); return err },
		func() error { _, err := users.RevokeAll(ctx, "john", "ended"); return err },
		func() error { return users.RevokeEverybody(ctx, "ended") },
		func() error { _, err := users.Reason(ctx, "an id"); return err },
		func() error {
			_, err := users.Update(ctx, "john", func(*layer.Changes) error { return nil })
			return err
		},
	} {
		go func() { ended <- call() }()
	}
	for range 7 {
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("returned %v", err)
			}
		case <-time.After(2 * principals.CallTimeout):
			t.Fatal("a call goes on")
		}
	}
	release()
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
}

// hold takes connections to each master of a cluster.
func hold(t *testing.T, client *redis.ClusterClient, each int) (release func()) {
	t.Helper()
	var (
		mu    sync.Mutex
		conns []*redis.Conn
	)
	if err := client.ForEachMaster(context.Background(), func(ctx context.Context, node *redis.Client) error {
		for range each {
			conn := node.Conn()
			if err := conn.Ping(ctx).Err(); err != nil {
				return err
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

func addresses(cluster *redistest.Cluster) (all []string) {
	for _, master := range cluster.Masters {
		all = append(all, master.Addr())
	}
	return all
}
