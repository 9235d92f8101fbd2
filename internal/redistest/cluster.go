package redistest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
)

// slots is how many hash slots a cluster divides among its masters.
const slots = 16384

// Cluster is a Redis cluster of masters without replicas, until AddReplica. Its methods are for
// the goroutine of the test that started it.
type Cluster struct {
	tb      testing.TB
	Masters []*Server // as they were started or added
	servers []*Server // these and the replicas
	flags   []string
}

// StartCluster runs a cluster until the test ends, and waits until every master
// takes every key. It takes more redis-server flags for all of them.
func StartCluster(tb testing.TB, masters int, flags ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, flags: flags}
	ctx := context.Background()
	var first *redis.Client
	for n := range masters {
		s, bus := c.start()
		c.Masters = append(c.Masters, s)
		client := s.Client()
		if n == 0 {
			first = client
		}
		for _, command := range [][]any{
			{"cluster", "set-config-epoch", n + 1},
			{"cluster", "addslotsrange", slots * n / masters, slots*(n+1)/masters - 1},
		} {
			if err := client.Do(ctx, command...).Err(); err != nil {
				tb.Fatal(err)
			}
		}
		if err := first.Do(ctx, "cluster", "meet", "127.0.0.1", s.port, bus).Err(); n > 0 && err != nil {
			tb.Fatal(err)
		}
	}
	for _, s := range c.Masters {
		client := s.Client()
		poll.Until(tb, "a master knows who has every slot", func() bool {
			info := client.ClusterInfo(ctx).Val()
			return field(info, "cluster_state") == "ok" && field(info, "cluster_size") == strconv.Itoa(masters)
		})
	}
	return c
}

// start runs a server that belongs to no cluster yet, and returns it and the port of its bus.
func (c *Cluster) start(more ...string) (s *Server, bus int) {
	c.tb.Helper()
	bus, err := freePort()
	if err != nil {
		c.tb.Fatal(err)
	}
	flags := []string{"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "5000", "--repl-diskless-sync-delay", "0"}
	s = Start(c.tb, slices.Concat(flags, c.flags, more)...)
	c.servers = append(c.servers, s)
	return s, bus
}

// Client is a cluster client of its own, closed when the test ends.
func (c *Cluster) Client() *redis.ClusterClient {
	var addrs []string
	for _, s := range c.Masters {
		addrs = append(addrs, s.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	c.tb.Cleanup(func() { _ = client.Close() })
	return client
}

// field is one value of Redis' lines of name:value.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
