package redisstore_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A master hangs and its replica takes over. go-redis learns of it only from a reply, which never
// comes, or after a minute.
func TestAReplicaIsFoundThatTookOverFromAMasterThatHangs(t *testing.T) {
	t.Parallel()
	f := &fixture{T: t}
	cluster := startCluster(t)
	hung := cluster.Masters[1]
	replica := cluster.AddReplica(hung)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster), ReadTimeout: time.Second, MaxRedirects: -1, ClusterStateReloadInterval: time.Hour})
	t.Cleanup(func() { _ = client.Close() })
	s := redisstore.New(client)
	id := f.idOf(s, hung)
	f.write(s, id, 1)
	f.check(hung.Client().Wait(ctx, 1, 10*time.Second).Err())
	for _, node := range append(cluster.Masters, replica) {
		poll.Until(t, "a node knows the cluster", func() bool { // for each knows whose replica it is
			slots, err := node.Client().ClusterSlots(ctx).Result()
			return err == nil && len(slots) == 3 && slices.ContainsFunc(slots, func(s redis.ClusterSlot) bool { return len(s.Nodes) == 2 })
		})
	}
	hung.Pause()
	f.check(replica.Client().Do(ctx, "cluster", "failover", "takeover").Err())
	poll.Until(t, "the session is read from the new master", func() bool {
		read, err := s.Load(ctx, id, ttl)
		return err == nil && read.Snapshot != nil
	})
}

func addresses(cluster *redistest.Cluster) (all []string) {
	for _, master := range cluster.Masters {
		all = append(all, master.Addr())
	}
	return all
}

// idOf is a session of the master.
func (f *fixture) idOf(s *redisstore.Storage, master *redistest.Server) string {
	f.Helper()
	for n := range 1000 {
		if _, err := s.Load(ctx, itoa(n), ttl); err != nil { // the client knows the masters only then
			f.Fatal(err)
		}
		if s.Shard(itoa(n)) == master.Addr() {
			return itoa(n)
		}
	}
	f.Fatal("the master has no session")
	return ""
}

// GoFrame's adapter sets no time-outs for a cluster either, unless its configuration does.
func TestAHungMasterEndsCallsUnderGoFrame(t *testing.T) {
	t.Parallel()
	f := &fixture{T: t}
	cluster := startCluster(t)
	client, err := gredis.New(&gredis.Config{Address: strings.Join(addresses(cluster), ",")})
	f.check(err)
	defer func() { _ = client.Close(ctx) }()
	s := redisstore.FromGoFrame(client)
	hung := cluster.Masters[2]
	id := f.idOf(s, hung)
	hung.Pause()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Load(ctx, id, ttl)
		ended <- err
	}()
	select {
	case err := <-ended:
		private(t, err)
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
	hung.Resume()
	poll.Until(t, "a load succeeds", func() bool { _, err := s.Load(ctx, id, ttl); return err == nil })
	f.check(s.Close(ctx))
	if _, err = client.Get(ctx, id); err != nil {
		t.Error("the storage has closed the client of the program:", err)
	}
}

func TestSentinelsUnderGoFrameWithoutATimeoutAreAdvisedOf(t *testing.T) {
	over, cancel := context.WithCancel(ctx)
	cancel() // no server is asked
	for timeout, want := range map[time.Duration]bool{0: true, time.Second: false} {
		client, err := gredis.New(&gredis.Config{Address: "127.0.0.1:1", MasterName: "main", ReadTimeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close(ctx) }()
		all := redisstore.FromGoFrame(client, redisstore.Prefix("p:")).Advise(over)
		if got := slices.ContainsFunc(all, func(a tiers.Advice) bool { return strings.Contains(a.Text, "set readTimeout") }); got != want {
			t.Errorf("with a time-out of %v it is advised: %v", timeout, all)
		}
	}
}

// A client's own cache knows no bound for a connection that hangs, so that nothing is read from it.
func TestNothingIsReadFromTheClientsOwnCache(t *testing.T) {
	f := start(t)
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), ClientSideCacheConfig: &redis.ClientSideCacheConfig{}})
	defer func() { f.check(client.Close()) }()
	index := redisstore.New(client).Indexer()
	f.check(f.raw.ConfigResetStat(ctx).Err())
	for range 3 {
		_, err := index.ReasonOf(ctx, "a")
		f.check(err)
		_, err = index.Marks(ctx, []int{1})
		f.check(err)
	}
	stats, err := f.raw.InfoMap(ctx, "commandstats").Result()
	f.check(err)
	for _, command := range []string{"get", "hgetall"} {
		if got := stats["Commandstats"]["cmdstat_"+command]; !strings.HasPrefix(got, "calls=3,") {
			t.Errorf("of 3 reads by %s the server knows %s", command, got)
		}
	}
}
