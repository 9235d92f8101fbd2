package tracking_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
)

// spread is a key of each master's, by trying.
func spread(t *testing.T, c *redistest.Cluster, client *redis.ClusterClient) (keys []string) {
	t.Helper()
	for _, s := range c.Masters {
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

// announces sets each key and waits until it was announced.
func announces(t *testing.T, l *witness, client redis.UniversalClient, keys ...string) {
	t.Helper()
	l.forget()
	for _, key := range keys {
		if err := client.Set(ctx, "p:"+key, "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		l.changes(t, key)
	}
}

// settles sets a key until that is announced.
func settles(t *testing.T, l *witness, client redis.UniversalClient, key string) {
	t.Helper()
	l.forget()
	l.await(t, "a change", func() bool {
		_ = client.Set(ctx, "p:"+key, "1", 0).Err()
		return l.ids[key] > 0 && time.Now().Before(l.until)
	})
}

func TestWatchClusterMasters(t *testing.T) {
	c := startCluster(t)
	client := c.Client()
	_, l := watch(t, c.Client(), "p:")
	l.standing(t)
	keys := spread(t, c, client)
	announces(t, l, client, keys...)

	for _, s := range c.Masters { // one loss is enough
		before := l.count()
		if err := s.Client().Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		l.recovers(t, before)
		announces(t, l, client, keys...)
	}
}

func TestWatchClusterSlotMove(t *testing.T) {
	c := startCluster(t)
	client := c.Client()
	_, l := watch(t, c.Client(), "p:")
	l.standing(t)
	key := spread(t, c, client)[0]
	announces(t, l, client, key)
	slot := int(client.ClusterKeySlot(ctx, "p:"+key).Val())

	before := l.count()
	c.Move(slot, c.Masters[0], c.Masters[1])
	l.recovers(t, before)
	announces(t, l, client, key)

	before = l.count()
	fourth := c.AddMaster()
	l.recovers(t, before)
	settles(t, l, client, key)

	// Among members nothing is lost, and nobody connects anew.
	connected := func() (n string) {
		for _, s := range c.Masters {
			n += s.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_client|tracking")[:8]
		}
		return n
	}
	first := connected()
	for _, move := range [][2]*redistest.Server{{c.Masters[1], fourth}, {fourth, c.Masters[2]}, {c.Masters[2], c.Masters[0]}} {
		l.standing(t)
		before = l.count()
		l.forget()
		finish := c.Linger(slot, move[0], move[1])
		announces(t, l, client, key)
		finish()
		announces(t, l, client, key)
		l.recovers(t, before)
		announces(t, l, client, key)
	}
	if now := connected(); now != first {
		t.Errorf("connected anew: %q, before %q", now, first)
	}
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

// While a slot is on its way, who has none yet announces what is written to it.
func TestWatchClusterSlotOnItsWay(t *testing.T) {
	for _, state := range []string{"watched", "joining", "away"} {
		t.Run(state, func(t *testing.T) {
			c := startCluster(t)
			client := c.Client()
			from := owner(t, c, "p:{a}")
			slot := int(client.ClusterKeySlot(ctx, "p:{a}").Val())
			var fourth *redistest.Server
			if state != "joining" {
				fourth = c.AddMaster()
			}
			if state == "away" {
				fourth.Pause()
			}
			_, l := watch(t, c.Client(), "p:")
			l.standing(t)
			announces(t, l, client, "{a}old")

			switch state {
			case "joining":
				fourth = c.AddMaster()
			case "away":
				fourth.Resume()
			}
			finish := c.Linger(slot, from, fourth)
			if state != "watched" {
				settles(t, l, client, "{a}new") // it is found within the lease
			}
			announces(t, l, client, "{a}new", "{a}old")
			l.forget()
			if err := client.Del(ctx, "p:{a}new").Err(); err != nil {
				t.Fatal(err)
			}
			l.changes(t, "{a}new")
			before := l.count()
			finish()
			l.recovers(t, before)
			announces(t, l, client, "{a}new", "{a}old")
		})
	}
}

func TestWatchClusterFailover(t *testing.T) {
	c := startCluster(t)
	replica := c.AddReplica(c.Masters[0])
	client := c.Client()
	_, l := watch(t, c.Client(), "p:")
	l.standing(t)
	key := spread(t, c, client)[0]
	announces(t, l, client, key)
	for _, next := range []*redistest.Server{replica, c.Masters[0]} {
		before := l.count()
		c.Failover(next)
		l.recovers(t, before)
		announces(t, l, client, key)
	}
}

func TestWatchSentinelFailover(t *testing.T) {
	s := redistest.StartSentinel(t)
	client := s.Client()
	_, l := watch(t, s.Client(), "p:")
	l.standing(t)
	announces(t, l, s.Master().Client(), "a")

	// One that the sentinel no longer names, and that doesn't know it yet.
	before := l.count()
	s.Failover()
	l.recovers(t, before)
	announces(t, l, s.Master().Client(), "a")
	_ = client
}

// A server that became a replica isn't vouched for, and is again once it is a master.
func TestWatchReplica(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	before := l.count()
	f.check(f.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.revoked(t)
	f.check(f.raw.ReplicaOf(ctx, "no", "one").Err())
	l.recovers(t, before)
}
