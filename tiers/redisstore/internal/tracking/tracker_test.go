package tracking_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// A storage notifies of what other nodes commit, slide and remove, under its own prefix.
func TestStorageIsASource(t *testing.T) {
	f := start(t)
	mine, theirs := redisstore.New(f.server.Client(), redisstore.Prefix("s:"), redisstore.WatchLease(time.Minute)), redisstore.New(f.raw, redisstore.Prefix("s:"))
	var source tiers.InvalidationSource = mine
	l, second := newWitness(), newWitness()
	stop, stopSecond := source.Subscribe(l), source.Subscribe(second)
	defer stopSecond()
	l.standing(t)
	second.standing(t)
	l.mu.Lock()
	if left := time.Until(l.until); left > time.Minute || left < liveness {
		t.Errorf("vouched for %v on, with a lease of a minute", left)
	}
	l.mu.Unlock()

	begin, err := tiers.Replace(values{"k": 1})
	f.check(err)
	_, err = theirs.Commit(ctx, "a", begin, ttl)
	f.check(err)
	l.changes(t, "a")
	l.forget()
	_, err = theirs.Slide(ctx, "a", 2*ttl)
	f.check(err)
	l.changes(t, "a")
	l.forget()
	f.check(theirs.RemoveAll(ctx, "a"))
	l.changes(t, "a")

	stop()
	l.forget()
	f.set("s:b", `{}`)
	second.changes(t, "b")
	if len(l.ids) > 0 {
		t.Error("a listener that has stopped is notified of more")
	}
	f.check(mine.Close(ctx))
	if !second.until.IsZero() {
		t.Error("a closed storage vouches")
	}
	third := newWitness()
	mine.Subscribe(third)()
	if len(third.log) > 0 {
		t.Error("a closed storage notifies")
	}
}

// Nothing runs before the first listener, and nothing after the last.
func TestStorageWatchesWhileThereAreListeners(t *testing.T) {
	f := start(t)
	s := redisstore.New(f.raw)
	f.check(f.raw.Ping(ctx).Err())
	before := goleak.IgnoreCurrent()
	for range 3 {
		a, b := newWitness(), newWitness()
		stopA, stopB := s.Subscribe(a), s.Subscribe(b)
		a.standing(t)
		b.standing(t)
		stopA()
		stopA()
		f.set("x", `{}`)
		b.changes(t, "x")
		stopB()
		leaktest.Ended(t, before)
	}
	s.Subscribe(newWitness())
	f.check(s.Close(ctx))
	leaktest.Ended(t, before)
}

// While a command waits for a master that sends no reply, the cluster is asked who has which slots, although the
// client waits without end and a node that is asked may hang as well.
func TestACommandThatWaitsHasTheClusterAsked(t *testing.T) {
	cluster := startCluster(t)
	var addrs []string
	for _, s := range cluster.Masters {
		addrs = append(addrs, s.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadTimeout: time.Hour, ContextTimeoutEnabled: true, ClusterStateReloadInterval: time.Hour})
	t.Cleanup(func() { _ = client.Close() })
	w := tracking.Start(client, "p:")
	keys := spread(t, cluster, client)
	hung, others := cluster.Masters[1], []*redis.Client{cluster.Masters[0].Client(), cluster.Masters[2].Client()}
	asked := func() (stats string) {
		for _, other := range others {
			stats += other.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_cluster|slots")
		}
		return stats
	}
	before := asked()
	hung.Pause()
	var sent sync.WaitGroup
	sent.Go(func() { _ = w.Send(ctx, redis.NewStatusCmd(ctx, "set", "p:"+keys[1], "1")) })
	poll.Until(t, "a question to another master", func() bool { return asked() != before })
	closing, cancel := context.WithTimeout(ctx, liveness)
	defer cancel()
	if err := w.Close(closing); err != nil {
		t.Error(err)
	}
	hung.Resume()
	sent.Wait()
}

// Close waits for a watcher that had not ended when its last listener left.
func TestCloseWaitsForEarlierWatchers(t *testing.T) {
	f := start(t)
	dials, release := make(chan struct{}, 1), make(chan struct{})
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), Dialer: func(context.Context, string, string) (net.Conn, error) {
		select {
		case dials <- struct{}{}:
		default:
		}
		<-release // whatever its context says
		return nil, net.ErrClosed
	}})
	t.Cleanup(func() { _ = client.Close() })
	before := goleak.IgnoreCurrent()
	w := tracking.New(client, "p:", time.Minute)
	stop := w.Subscribe(newWitness())
	<-dials
	stop()
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Close(over); err == nil {
		t.Error("Close returns nil while the watcher still runs")
	}
	close(release)
	f.check(w.Close(ctx))
	leaktest.Ended(t, before)
}
