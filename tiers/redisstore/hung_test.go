package redisstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
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
		f.await(func() bool { // for each knows whose replica it is
			slots, err := node.Client().ClusterSlots(ctx).Result()
			return err == nil && len(slots) == 3 && slices.ContainsFunc(slots, func(s redis.ClusterSlot) bool { return len(s.Nodes) == 2 })
		})
	}
	hung.Pause()
	f.check(replica.Client().Do(ctx, "cluster", "failover", "takeover").Err())
	f.await(func() bool {
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
