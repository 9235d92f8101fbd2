package tracking_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// spread is a key of each master's, by trying.
func spread(t *testing.T, c *redistest.Cluster, client *redis.ClusterClient) (keys []string) {
	t.Helper()
	for _, s := range c.Masters[:3] { // those with slots
		for n := 0; ; n++ {
			key := "p:" + strconv.Itoa(n)
			if s.Client().Get(ctx, key).Err() == redis.Nil {
				keys = append(keys, key[2:])
				break
			}
		}
	}
	return keys
}

// notifies sets each key and waits until its invalidation has come.
func notifies(t *testing.T, l *witness, client redis.UniversalClient, keys ...string) {
	t.Helper()
	l.forget()
	for _, key := range keys {
		if err := client.Set(ctx, "p:"+key, "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		l.changes(t, key)
	}
}

// settles sets a key until its invalidation comes.
func settles(t *testing.T, l *witness, client redis.UniversalClient, key string) {
	t.Helper()
	l.forget()
	l.await(t, "a change", func() bool {
		_ = client.Set(ctx, "p:"+key, "1", 0).Err()
		return l.ids[key] > 0 && time.Now().Before(l.until)
	})
}

// One cluster for all: it takes two seconds to start. Each part can be run alone.
func TestWatchCluster(t *testing.T) {
	c := startCluster(t)
	var addrs []string
	for _, s := range c.Masters {
		addrs = append(addrs, s.Addr())
	}
	connect := func(t *testing.T) *redis.ClusterClient { // to the first masters
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	var fourth *redistest.Server
	join := func() *redistest.Server { // a master without slots
		if fourth == nil {
			fourth = c.AddMaster()
		}
		return fourth
	}

	t.Run("losses", func(t *testing.T) {
		client := connect(t)
		_, l := watch(t, connect(t), "p:")
		l.standing(t)
		keys := spread(t, c, client)
		notifies(t, l, client, keys...)
		for _, s := range c.Masters { // one loss is enough
			before := l.count()
			if err := s.Client().Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
				t.Fatal(err)
			}
			l.recovers(t, before)
			notifies(t, l, client, keys...)
		}
	})

	// While a slot is on its way, a master without slots sends the invalidations of what is written to it.
	for _, state := range []string{"joining", "watched", "away"} {
		t.Run("a slot on its way to a master that is "+state, func(t *testing.T) {
			client := connect(t)
			from := owner(t, c, "p:{a}")
			slot := int(client.ClusterKeySlot(ctx, "p:{a}").Val())
			if state != "joining" {
				join()
			}
			if state == "away" {
				fourth.Pause()
			}
			_, l := watch(t, connect(t), "p:")
			l.standing(t)
			notifies(t, l, client, "{a}old")

			switch state {
			case "joining":
				join()
			case "away":
				fourth.Resume()
			}
			finish := c.Linger(slot, from, fourth)
			if state != "watched" {
				settles(t, l, client, "{a}new") // it is found within the lease
			}
			notifies(t, l, client, "{a}new", "{a}old")
			l.forget()
			if err := client.Del(ctx, "p:{a}new").Err(); err != nil {
				t.Fatal(err)
			}
			l.changes(t, "{a}new")
			before := l.count()
			finish()
			l.recovers(t, before)
			notifies(t, l, client, "{a}new", "{a}old")
			if err := client.Del(ctx, "p:{a}new", "p:{a}old").Err(); err != nil { // their move would be a change
				t.Fatal(err)
			}
			c.Move(slot, fourth, from)
		})
	}

	t.Run("a slot's moves among members", func(t *testing.T) {
		client := connect(t)
		join()
		_, l := watch(t, connect(t), "p:", tracking.Lease(time.Minute))
		l.standing(t)
		key := spread(t, c, client)[0]
		notifies(t, l, client, key)
		slot := int(client.ClusterKeySlot(ctx, "p:"+key).Val())
		connected := func() (n string) {
			for _, s := range c.Masters {
				n += s.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_client|tracking")[:9]
			}
			return n
		}
		first := connected()
		from := owner(t, c, "p:"+key)
		for _, to := range []*redistest.Server{c.Masters[1], fourth, c.Masters[2], c.Masters[0]} {
			l.standing(t)
			before := l.count()
			l.forget()
			finish := c.Linger(slot, from, to)
			notifies(t, l, client, key)
			finish()
			notifies(t, l, client, key)
			l.recovers(t, before)
			notifies(t, l, client, key)
			from = to
		}
		if now := connected(); now != first {
			t.Errorf("connected anew: %q, before %q", now, first)
		}
	})

	// Each master that sessions can be at has a canary; with a {tag} that is one of them.
	t.Run("canaries", func(t *testing.T) {
		join()
		for prefix, want := range map[string]int{"p:": 3, "{p}:": 1} {
			for _, s := range c.Masters {
				if err := s.Client().ConfigResetStat(ctx).Err(); err != nil {
					t.Fatal(err)
				}
			}
			_, l := watch(t, connect(t), prefix, tracking.ProofLife(time.Hour))
			l.standing(t)
			sets := 0
			for _, s := range c.Masters {
				set := s.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_set")
				if strings.HasPrefix(set, "calls=1,") {
					sets++
				}
			}
			if sets != want {
				t.Errorf("with prefix %q %d masters got a canary, want %d", prefix, sets, want)
			}
		}
	})

	t.Run("failovers", func(t *testing.T) {
		master := c.Masters[0]
		replica := c.AddReplica(master)
		client := connect(t)
		_, l := watch(t, connect(t), "p:")
		l.standing(t)
		key := spread(t, c, client)[0]
		notifies(t, l, client, key)
		for _, next := range []*redistest.Server{replica, master} {
			before := l.count()
			c.Failover(next)
			l.recovers(t, before)
			notifies(t, l, client, key)
		}
	})
}

// owner is the master that has a key's slot.
func owner(t *testing.T, c *redistest.Cluster, key string) *redistest.Server {
	t.Helper()
	for _, s := range c.Masters {
		if err := s.Client().Get(ctx, key).Err(); err == nil || err == redis.Nil {
			return s
		}
	}
	t.Fatal("no master has a slot")
	return nil
}

func TestWatchSentinelFailover(t *testing.T) {
	s := redistest.StartSentinel(t)
	client := s.Client()
	_, l := watch(t, s.Client(), "p:")
	l.standing(t)
	notifies(t, l, s.Master().Client(), "a")

	// One that the sentinel no longer names, and that doesn't know it yet.
	before := l.count()
	s.Failover()
	l.recovers(t, before)
	notifies(t, l, s.Master().Client(), "a")
	_ = client
}

// becomesReplica has the server become a replica, and a master again.
func becomesReplica(t *testing.T, f *fixture, l *witness) {
	t.Helper()
	before := l.count()
	f.check(f.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.revoked(t)
	f.check(f.raw.ReplicaOf(ctx, "no", "one").Err())
	l.recovers(t, before)
}

// A server that became a replica isn't vouched for, and is again once it is a master.
func TestWatchReplica(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	becomesReplica(t, f, l)
}

// A node of a cluster that has vanished, so that nothing refuses a connection to it, holds up the watch for no
// longer than an attempt takes.
func TestWatchOfAClusterWithANodeThatVanished(t *testing.T) {
	cluster := redistest.StartCluster(t, 1)
	var vanished atomic.Bool
	vanished.Store(true)
	over := make(chan struct{})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Masters[0].Addr()}, DialTimeout: time.Hour,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if vanished.CompareAndSwap(true, false) {
				<-over
				return nil, net.ErrClosed
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}})
	t.Cleanup(func() { close(over); _ = client.Close() })
	_, l := watch(t, client, "p:")
	l.standing(t)
}
