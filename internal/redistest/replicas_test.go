package redistest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
)

func TestSentinelFailsOver(t *testing.T) {
	s := StartSentinel(t)
	client, ctx := s.Client(), context.Background()
	for n := range 2 {
		poll.Until(t, "the client writes to the master", func() bool {
			return client.Set(ctx, "a", n, 0).Err() == nil && s.Master().Client().Get(ctx, "a").Val() == strconv.Itoa(n)
		})
		if s.Master() != s.Servers[n] {
			t.Fatal("the sentinel names another master")
		}
		if n == 0 {
			s.Failover()
		}
	}
}

func TestClusterFailsOverAndMovesSlots(t *testing.T) {
	c := StartCluster(t, 3)
	client, ctx := c.Client(), context.Background()
	replica := c.AddReplica(c.Masters[0])
	c.Failover(replica)
	fourth := c.AddMaster()
	slot := int(client.ClusterKeySlot(ctx, "a").Val())
	poll.Until(t, "the client follows the failover", func() bool { return client.Set(ctx, "a", "1", 0).Err() == nil })
	owner := replica
	for _, s := range c.Masters[1:3] {
		if s.Client().Exists(ctx, "a").Val() == 1 {
			owner = s
		}
	}
	finish := c.Linger(slot, owner, fourth)
	for _, s := range []*Server{owner, fourth} {
		if n := s.Client().ClusterCountKeysInSlot(ctx, slot).Val(); (n == 1) != (s == fourth) {
			t.Fatalf("%d keys of a slot on its way", n)
		}
	}
	if err := client.Get(ctx, "a").Err(); err != nil {
		t.Fatal(err)
	}
	if err := owner.Client().Get(ctx, "a").Err(); err == nil || !strings.HasPrefix(err.Error(), "ASK ") {
		t.Fatalf("a slot on its way isn't asked for elsewhere: %v", err)
	}
	finish()
	if n := fourth.Client().Exists(ctx, "a").Val(); n != 1 {
		t.Fatal("the key didn't move with its slot")
	}
	for n, s := range append(c.Masters, replica) { // the first of which is a replica now
		info := s.Client().Info(ctx, "commandstats").Val()
		if notified := strings.Contains(info, "cmdstat_cluster|setslot"); notified != (n > 0) {
			t.Errorf("server %d: notified of the slot: %t", n, notified)
		}
	}
	if err := client.Get(ctx, "a").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestProxyKeepsBytesBack(t *testing.T) {
	s := Start(t)
	p := StartProxy(t, s.Addr())
	direct, ctx := s.Client(), context.Background()
	through := redis.NewClient(&redis.Options{Addr: p.Addr()})
	t.Cleanup(func() { _ = through.Close() })
	if err := through.Set(ctx, "a", "1", 0).Err(); err != nil || p.Conns() != 1 {
		t.Fatalf("%d connections, error %v", p.Conns(), err)
	}
	p.Stall()
	done := make(chan error, 1)
	go func() { done <- through.Set(ctx, "a", "2", 0).Err() }()
	select {
	case err := <-done:
		t.Fatalf("a stalled proxy let a command through, error %v", err)
	default:
		if got := direct.Get(ctx, "a").Val(); got != "1" {
			t.Fatal("a stalled proxy let a command through")
		}
	}
	p.Resume()
	if err := <-done; err != nil || direct.Get(ctx, "a").Val() != "2" {
		t.Fatalf("what was kept back didn't arrive, error %v", err)
	}
	p.StallAnswers()
	go func() { done <- through.Set(ctx, "a", "3", 0).Err() }()
	poll.Until(t, "the server gets what it is sent", func() bool { return direct.Get(ctx, "a").Val() == "3" })
	select {
	case err := <-done:
		t.Fatalf("a proxy that stalls replies let one through, error %v", err)
	default:
	}
	p.Resume()
	if err := <-done; err != nil {
		t.Fatalf("the answer that was kept back didn't arrive, error %v", err)
	}
	p.Cut()
	poll.Until(t, "the connection is cut", func() bool { return p.Conns() == 0 })
}

func TestProxyDelaysAndIsTapped(t *testing.T) {
	ctx := context.Background()
	s := Start(t)
	proxy := StartProxy(t, s.Addr())
	sent, answered := make(chan bool, 1), make(chan bool, 1)
	proxy.Tap(func(conn int, toServer bool, piece []byte) {
		seen := answered
		if toServer {
			seen = sent
		}
		if conn > 0 && strings.Contains(string(piece), "delayed") {
			select {
			case seen <- true:
			default:
			}
		}
	})
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	const longest = 20 * time.Millisecond
	proxy.Jitter(longest)
	began := time.Now()
	for range 40 {
		if text, err := client.Echo(ctx, "delayed").Result(); text != "delayed" || err != nil {
			t.Fatal(text, err)
		}
	}
	if took := time.Since(began); took < longest {
		t.Errorf("80 pieces were delayed by %v in all", took)
	}
	proxy.Tap(nil)
	if len(sent) != 1 || len(answered) != 1 {
		t.Errorf("the tap saw %d commands and %d replies", len(sent), len(answered))
	}
}
