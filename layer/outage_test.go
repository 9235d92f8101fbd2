package layer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// outage runs writers on a chain while Redis is killed, is away for five seconds and
// comes back with the writes that it had confirmed. It returns the data that each session should hold, and
// the errors that writers got.
func outage(t *testing.T, server *redistest.Server, chain *layer.Stack, id func(n int) string, look func()) (accepted map[string]int, failed []error) {
	t.Helper()
	ctx := context.Background()
	const writers = 16
	var (
		mu    sync.Mutex
		stop  atomic.Bool
		group sync.WaitGroup
		bases = map[string]*gmap.StrAnyMap{}
	)
	accepted = map[string]int{}
	for n := range writers {
		poll.Until(t, "a session is written", func() bool {
			return chain.SetSession(ctx, id(n), gmap.NewStrAnyMapFrom(map[string]any{"n": 0, "fill": fmt.Sprint(n)}), time.Hour) == nil
		})
	}
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for n := range writers {
		poll.Until(t, "a session is read", func() bool {
			m, err := chain.GetSession(ctx, id(n), time.Hour)
			bases[id(n)] = m
			return err == nil && m != nil
		})
	}
	began := make(chan struct{}, writers)
	for n := range writers {
		group.Go(func() {
			id, m := id(n), bases[id(n)]
			for count := 1; !stop.Load(); count++ {
				m.Set("n", count)
				err := chain.SetSession(ctx, id, m, time.Hour)
				mu.Lock()
				if err != nil {
					failed = append(failed, err)
				} else {
					accepted[id] = count
				}
				mu.Unlock()
				if count == 50 {
					began <- struct{}{}
				}
				if err != nil || count > 50 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for range writers {
		<-began
	}
	server.Stop()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); look() {
		time.Sleep(10 * time.Millisecond)
	}
	mu.Lock()
	before := accepted[id(0)]
	mu.Unlock()
	server.Restart(t)
	// Under load for as long as it takes until a write is in the store again.
	probe := redisstore.New(server.Client())
	if !poll.Try(func() bool {
		read, err := probe.Load(ctx, id(0), time.Hour)
		return err == nil && read.Snapshot != nil && number(read.Snapshot) > max(before, 50)
	}) {
		t.Error("nothing is written again")
	}
	stop.Store(true)
	group.Wait()
	return accepted, failed
}

func number(s *tiers.Snapshot) (n int) {
	_, _ = fmt.Sscan(fmt.Sprint(s.Get("n")), &n)
	return n
}

func durable(t *testing.T) (*redistest.Server, redis.UniversalClient) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	return server, redis.NewClient(&redis.Options{
		Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, ReadTimeout: 500 * time.Millisecond,
	})
}

// inRedis compares what was accepted with what the server has.
func inRedis(t *testing.T, server *redistest.Server, accepted map[string]int) {
	t.Helper()
	store := redisstore.New(server.Client())
	for id, n := range accepted {
		read, err := store.Load(context.Background(), id, time.Hour)
		if err != nil || read.Snapshot == nil || number(read.Snapshot) < n {
			t.Errorf("Redis holds %v of a session, and %d was accepted, %v", read.Snapshot, n, err)
		}
	}
}

// Callers of a synchronous chain get an error for each write that isn't there afterwards.
func TestSynchronousCallersGetAnErrorInAnOutage(t *testing.T) {
	t.Parallel()
	server, client := durable(t)
	defer func() { _ = client.Close() }()
	chain := layer.Chain(redisstore.New(client), patientCoalesced(layer.WriteTimeout(time.Second)), patientLocal())
	accepted, failed := outage(t, server, chain, func(n int) string { return fmt.Sprint("sync-", n) }, func() {})
	if len(failed) == 0 {
		t.Error("no caller got an error while the store was away")
	}
	for _, err := range failed {
		if errors.Is(err, layer.ErrRevoked) {
			t.Fatalf("a caller got %v", err)
		}
	}
	if err := chain.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	inRedis(t, server, accepted)
}

// Callers of a write-behind chain notice nothing, and memory stays bounded.
func TestCallersOfWriteBehindGetNoErrorInAnOutage(t *testing.T) {
	t.Parallel()
	server, client := durable(t)
	defer func() { _ = client.Close() }()
	var lost atomic.Int64
	const bound = 1 << 20 // bytes
	chain := layer.Chain(redisstore.New(client),
		patientCoalesced(layer.WriteBehind(20*time.Millisecond), layer.MaxPendingBytes(bound),
			layer.OnGiveUp(func(g layer.GiveUp) { lost.Add(int64(g.Changes)) })), patientLocal())
	pending, ok := layer.As[interface {
		Pending() (changes int, bytes int64, oldest time.Duration)
	}](chain)
	if !ok {
		t.Fatal("the chain doesn't say what is pending")
	}
	waited := false
	accepted, failed := outage(t, server, chain, func(n int) string { return fmt.Sprint("behind-", n) }, func() {
		changes, bytes, oldest := pending.Pending()
		if bytes > bound {
			t.Errorf("%d bytes are pending, the bound is %d", bytes, bound)
		}
		waited = waited || changes > 0 && oldest > time.Second
	})
	if !waited {
		t.Error("nothing was pending while Redis was away")
	}
	for _, err := range failed {
		t.Errorf("a caller got %v", err)
	}
	if err := chain.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := lost.Load(); n > 0 {
		t.Errorf("%d changes were given up", n)
	}
	inRedis(t, server, accepted)
}

// A password that is changed under a running program looks like no log-out: reads fail, nothing
// is kept of them, and nothing begins anew.
func TestARotatedPasswordLogsNobodyOut(t *testing.T) {
	ctx := context.Background()
	for name, ds := range map[string][]layer.Decorator{
		"alone":            nil,
		"Coalesced":        {patientCoalesced()},
		"Coalesced, Local": {patientCoalesced(), patientLocal()},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			admin := server.Client()
			do := func(args ...any) {
				t.Helper()
				if err := admin.Do(ctx, args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			do("config", "set", "requirepass", "one")
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: "one"})
			chain := layer.Chain(redisstore.New(client), ds...)
			t.Cleanup(func() { _, _ = chain.Close(ctx), client.Close() })
			do("set", "a", `{"user":1}`, "ex", 3600)
			if m, err := chain.GetSession(ctx, "a", time.Hour); err != nil || m == nil {
				t.Fatal(m, err)
			}
			do("config", "set", "requirepass", "another")
			do("client", "kill", "type", "normal", "skipme", "yes")
			poll.Until(t, "memory serves no more", func() bool { _, err := chain.GetSession(ctx, "a", time.Hour); return err != nil })
			for _, id := range []string{"a", "b"} {
				if m, err := chain.GetSession(ctx, id, time.Hour); err == nil {
					t.Errorf("GetSession of %s returns %v, nil", id, m)
				}
				if err := chain.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"user": 2}), time.Hour); err == nil {
					t.Errorf("SetSession of %s returns nil", id)
				}
			}
			do("set", "b", `{"user":3}`, "ex", 3600)
			do("config", "set", "requirepass", "one")
			for id, want := range map[string]int{"a": 1, "b": 3} {
				var user int
				if !poll.Try(func() bool {
					m, err := chain.GetSession(ctx, id, time.Hour)
					if err == nil && m != nil {
						user = m.GetVar("user").Int()
					}
					return err == nil
				}) || user != want {
					t.Errorf("user %d in session %s, want %d", user, id, want)
				}
			}
		})
	}
}

// Close called from a callback, for which it would have to wait, returns an error at once; the chain can
// be closed later.
func TestCloseOfAChainInOnGiveUpIsRefused(t *testing.T) {
	store := &away{StorageMemory: gsession.NewStorageMemory(), back: true}
	var chain *layer.Stack
	answer := make(chan error, 1)
	chain = layer.Chain(store, patientCoalesced(layer.WriteBehind(time.Millisecond), layer.OnGiveUp(func(layer.GiveUp) {
		answer <- chain.Close(context.Background())
	})), patientLocal())
	ctx := context.Background()
	if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"k": 1}), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := chain.GetSession(ctx, "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m.Set("k", "2")                                                 // a number is written at once to a store that isn't known
	if err := store.StorageMemory.RemoveAll(ctx, "a"); err != nil { // by another client
		t.Fatal(err)
	}
	if err := chain.SetSession(ctx, "a", m, time.Hour); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if err == nil || !strings.Contains(err.Error(), "another goroutine") {
			t.Errorf("Close in a callback returns %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Close in a callback doesn't return")
	}
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Of a session that the store hasn't taken yet no read says how old it is: MaxStale bounds it all the same.
func TestMaxStaleBoundsASessionThatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const id = "pending-0123456789"
		ctx, store := context.Background(), teststore.New()
		store.Refuse(func(string) error { return errors.New("full") })
		chain := layer.Chain(store, patientCoalesced(layer.WriteBehind(time.Hour)), patientLocal())
		open := func() *gsession.Session { return gsession.New(time.Hour, chain).New(ctx, id) }
		s := open()
		if err := errors.Join(s.Set("here", 1), s.Close()); err != nil {
			t.Fatal(err)
		}
		if here := open().MustGet("here"); here.Int() != 1 {
			t.Fatalf("what is pending is read as %v", here)
		}
		store.Put(id, map[string]any{"there": 2}, time.Hour) // by another node
		time.Sleep(time.Second)
		if there := open().MustGet("there"); there.Int() != 2 {
			t.Errorf("after MaxStale another node's write is read as %v", there)
		}
		store.Refuse(nil)
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
