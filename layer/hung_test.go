package layer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// begun writes sessions and returns the maps that their requests hold.
func begun(t *testing.T, chain *layer.Stack, ids []string) map[string]*gmap.StrAnyMap {
	t.Helper()
	ctx := context.Background()
	held := map[string]*gmap.StrAnyMap{}
	for _, id := range ids {
		if err := chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": 0}), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		m, err := chain.GetSession(ctx, id, time.Hour)
		if err != nil || m == nil {
			t.Fatal(m, err)
		}
		held[id] = m
	}
	return held
}

func numbered(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}

// A master of three hangs. Sessions of the others are written and logged out meanwhile, and
// what hangs arrives when it goes on. Nothing gives up before, so that what waited for the hung
// master would wait for good.
func TestAHungMasterDelaysItsOwnSessionsOnly(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, "--cluster-node-timeout", "60000")
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(cluster), ContextTimeoutEnabled: true, ReadTimeout: never, PoolTimeout: never, PoolSize: 200})
	t.Cleanup(func() { _ = client.Close() })
	store := redisstore.New(client)
	for name, opts := range map[string][]layer.CoalescedOption{
		"synchronous": {layer.WriteTimeout(never)}, "behind": {layer.WriteTimeout(never), layer.WriteBehind(5 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			chain := layer.Chain(store, layer.Coalesced(opts...))
			ctx, ids := context.Background(), numbered(name, 300)
			bases := begun(t, chain, ids)
			hung := cluster.Masters[1]
			slow := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return store.Shard(id) != hung.Addr() })
			well := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return store.Shard(id) == hung.Addr() })
			if len(slow) < 50 || len(well) < 100 {
				t.Fatalf("%d sessions of the master, %d of others", len(slow), len(well))
			}
			hung.Pause()
			var stuck sync.WaitGroup
			for _, id := range slow {
				bases[id].Set("n", 1)
				stuck.Go(func() { _ = chain.SetSession(ctx, id, bases[id], time.Hour) })
			}
			waited, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			for _, id := range well {
				bases[id].Set("n", 1)
				if err := chain.SetSession(waited, id, bases[id], time.Hour); err != nil {
					t.Error(err)
					break
				}
			}
			if !poll.Try(func() bool {
				return t.Failed() || !slices.ContainsFunc(well, func(id string) bool {
					read, err := store.Load(ctx, id, time.Hour)
					return err != nil || read.Snapshot == nil || number(read.Snapshot) != 1
				})
			}) {
				t.Error("a session of a master that is well wasn't written beside one that hangs")
			}
			if err := chain.RemoveAll(waited, well[0]); err != nil {
				t.Error(err)
			}
			hung.Resume()
			stuck.Wait()
			if err := chain.Close(ctx); err != nil {
				t.Error(err)
			}
			for _, id := range slow {
				if read, err := store.Load(ctx, id, time.Hour); err != nil || read.Snapshot == nil || number(read.Snapshot) != 1 {
					t.Errorf("a session of the master that hung holds %v, %v", read.Snapshot, err)
				}
			}
		})
	}
}

// go-redis asks any master for the table of COMMAND before a single command of a cluster, and all
// others wait: a master that hangs would hold up the sessions of all. No command of a chain does.
func TestAChainOverAClusterNeverAsksCommand(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	store := redisstore.New(cluster.Client(), redisstore.Prefix("app:"))
	chain := layer.Chain(store, patientCoalesced(), patientLocal(), layer.Indexed(userOf))
	ctx := context.Background()
	usersAndTheirSessions(t, chain, chain)
	for _, id := range numbered("single ", 20) {
		bases := begun(t, chain, []string{id})
		bases[id].Set("n", 1)
		if err := errors.Join(chain.SetSession(ctx, id, bases[id], time.Hour), chain.UpdateTTL(ctx, id, time.Minute), chain.RemoveAll(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	if len(store.Advise(ctx)) > 0 { // it asks INFO
		t.Error("there is advice about a store that has a prefix")
	}
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, master := range cluster.Masters {
		if stats := master.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_command"); stats != "" {
			t.Errorf("a master was asked COMMAND: %s", stats)
		}
	}
}

// A server hangs. Once some requests have found out, all others return or are refused at once: reads
// that memory may serve, log-outs, and changes, which wait while writing behind. A log-out of this
// node holds on it although the store didn't receive it.
func TestAHungServerHoldsNoRequestUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	traced, log := logged()
	chain := layer.Chain(redisstore.New(client), layer.Coalesced(layer.WriteBehind(20*time.Millisecond)),
		layer.Local(layer.ServeStale(time.Hour)), traced)
	ctx, ids := context.Background(), numbered("hung ", 50)
	other := layer.Chain(redisstore.New(server.Client()))
	defer func() { _ = other.Close(ctx) }()
	bases := begun(t, other, append(ids, "marker")) // another node's, which needs no second look
	// Once the invalidation of the last write has arrived, all have.
	poll.Until(t, "a session is read", func() bool {
		m, err := chain.GetSession(ctx, "marker", time.Hour)
		return err == nil && m != nil
	})
	if err := other.RemoveAll(ctx, "marker"); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the other node's log-out is seen", func() bool {
		m, err := chain.GetSession(ctx, "marker", time.Hour)
		return err == nil && m == nil
	})
	raw := server.Client()
	gets := func() string { return raw.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_get") }
	poll.Until(t, "memory holds the sessions", func() bool {
		before := gets()
		for _, id := range ids {
			m, err := chain.GetSession(ctx, id, time.Hour)
			if err != nil || m == nil {
				return false
			}
			bases[id] = m
		}
		return gets() == before // memory holds them all
	})
	server.Pause()
	answers := func() (slowest time.Duration, failed int) {
		for _, id := range ids[1:] {
			began := time.Now()
			m, err := chain.GetSession(ctx, id, time.Hour)
			if err != nil {
				failed++
			} else {
				bases[id] = m
			}
			bases[id].Set("n", 1)
			if err := chain.SetSession(ctx, id, bases[id], time.Hour); err != nil {
				t.Errorf("a change got %v", err)
			}
			slowest = max(slowest, time.Since(began))
		}
		return slowest, failed
	}
	// Reads of sessions that nobody has asked for find out first; memory covers the others.
	var group sync.WaitGroup
	for n := range 5 {
		group.Go(func() {
			if _, err := chain.GetSession(ctx, fmt.Sprint("unknown ", n), time.Hour); err == nil {
				t.Error("a server that hangs has replied")
			}
		})
	}
	group.Wait()
	if !poll.Try(func() bool { // most are the probe of nobody, and the machine may be busy
		slowest, failed := answers()
		return slowest < 200*time.Millisecond && failed == 0
	}) {
		slowest, failed := answers()
		t.Errorf("the slowest request took %v, and %d reads of what memory holds failed", slowest, failed)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := chain.RemoveAll(short, ids[0]); err == nil {
		t.Error("a log-out that the store hasn't taken returned nil")
	}
	if m, err := chain.GetSession(ctx, ids[0], time.Hour); err == nil && m != nil {
		t.Error("a session that was logged out here is served")
	}
	if !poll.Try(func() bool { return strings.Contains(log.String(), "doesn't take changes of sessions") }) {
		t.Error("the log doesn't say that changes are pending")
	}
	server.Resume()
	poll.Until(t, "the server is found again", func() bool {
		_, err := chain.GetSession(ctx, "unknown 0", time.Hour)
		return err == nil
	})
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
	store := redisstore.New(server.Client())
	for _, id := range ids[1:] {
		if read, err := store.Load(ctx, id, time.Hour); err != nil || read.Snapshot == nil || number(read.Snapshot) != 1 {
			t.Errorf("a session holds %v, %v, and its change was accepted", read.Snapshot, err)
		}
	}
}

// A server takes no writes and serves reads. Pending changes stay readable, the log says at once why
// they wait and how many, and all arrive when the server takes writes again.
func TestAServerThatRefusesWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	traced, log := logged()
	chain := layer.Chain(redisstore.New(server.Client()), patientCoalesced(layer.WriteBehind(time.Hour)), patientLocal(), traced)
	ctx, ids := context.Background(), numbered("oom ", 50)
	bases := begun(t, chain, ids)
	if err := admin.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		bases[id].Set("n", 1)
		if err := chain.SetSession(ctx, id, bases[id], time.Hour); err != nil {
			t.Error(err)
		}
	}
	flushed := make(chan error, 1)
	go func() { flushed <- chain.Flush(ctx) }() // all are pending by now
	if !poll.Try(func() bool {
		return strings.Contains(log.String(), "OOM") && strings.Contains(log.String(), "pending=50")
	}) {
		t.Errorf("the log doesn't say what is wrong:\n%s", log)
	}
	time.Sleep(200 * time.Millisecond) // for attempts to fail
	for range 3 {
		for _, id := range ids {
			m, err := chain.GetSession(ctx, id, time.Hour)
			if err != nil || m == nil || fmt.Sprint(m.Get("n")) != "1" {
				t.Errorf("a session whose change is pending is read as %v, %v", m, err)
			}
		}
	}
	if n := strings.Count(log.String(), "doesn't take changes"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := admin.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-flushed, chain.Close(ctx)); err != nil {
		t.Error(err)
	}
	store := redisstore.New(server.Client())
	for _, id := range ids {
		if read, err := store.Load(ctx, id, time.Hour); err != nil || read.Snapshot == nil || number(read.Snapshot) != 1 {
			t.Errorf("a session holds %v, %v", read.Snapshot, err)
		}
	}
}
