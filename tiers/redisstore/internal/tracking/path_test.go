package tracking_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// twoServers hold different states of one session under one address, which leads to the first.
func twoServers(t *testing.T) (a, b *fixture, proxy *redistest.Proxy) {
	t.Helper()
	a, b = start(t), start(t)
	a.set("p:u", "a")
	b.set("p:u", "b")
	return a, b, redistest.StartProxy(t, a.server.Addr())
}

// read is the session that the tracker's commands lead to.
func read(t testing.TB, w *tracking.Tracker) string {
	t.Helper()
	get := redis.NewStringCmd(ctx, "get", "p:u")
	if err := w.Send(ctx, get); err != nil {
		t.Fatal(err)
	}
	return get.Val()
}

// Connections from before a move may lead to a server that was demoted, and lags.
func TestCommandsLeaveTheServerThatTheAddressHasLeft(t *testing.T) {
	a, b, proxy := twoServers(t)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	w := tracking.Start(client, "p:")
	if at := read(t, w); at != "a" { // on a connection of the client's own
		t.Fatalf("read from %q", at)
	}
	l := listen(t, w)
	l.standing(t)
	if at := read(t, w); at != "a" {
		t.Fatalf("read from %q", at)
	}
	before := l.count()
	proxy.Lead(b.server.Addr())
	a.check(a.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.recovers(t, before)
	if at := read(t, w); at != "b" {
		t.Errorf("read from %q, which the address has left", at)
	}
	a.check(w.Send(ctx, redis.NewStatusCmd(ctx, "set", "p:u", "c")))
	if at := b.raw.Get(ctx, "p:u").Val(); at != "c" {
		t.Errorf("written elsewhere: the new server holds %q", at)
	}
}

// The same where nobody vouches after the move.
func TestCommandsLeaveTheServerAlsoWithoutInvalidations(t *testing.T) {
	a, b, proxy := twoServers(t)
	b.check(b.raw.Do(ctx, "acl", "setuser", "default", "-client|tracking").Err())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:")
	l.standing(t)
	read(t, w)
	proxy.Lead(b.server.Addr())
	a.check(a.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	if at := read(t, w); at != "b" {
		t.Errorf("read from %q, which the address has left", at)
	}
}

// A new connection that leads elsewhere is found before its first command, and what was asked
// is asked where the address leads.
func TestANewConnectionProvesItself(t *testing.T) {
	_, b, proxy := twoServers(t)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ConnMaxLifetime: 20 * time.Millisecond, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:", tracking.ProofLife(time.Hour))
	l.standing(t)
	proxy.Lead(b.server.Addr())
	before := l.count()
	for read(t, w) == "a" { // by a connection that there is
		l.mu.Lock()
		if l.missed > before {
			t.Error("the end of the round came before that of its connections")
		}
		l.mu.Unlock()
	}
	l.recovers(t, before)
	if at := read(t, w); at != "b" {
		t.Errorf("read from %q", at)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reasons) > 0 {
		t.Errorf("notified of %q", l.reasons)
	}
}

// The end of a channel fails no command, and none is lost on a connection that is closed.
func TestALostChannelFailsNoCommand(t *testing.T) {
	f := start(t)
	f.set("p:u", "a")
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:")
	l.standing(t)
	var (
		stop  atomic.Bool
		loads sync.WaitGroup
	)
	for range 4 {
		loads.Go(func() {
			for !stop.Load() {
				if err := w.Send(ctx, redis.NewStringCmd(ctx, "get", "p:u")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		l.standing(t)
		before := l.count()
		clients, err := f.raw.ClientList(ctx).Result()
		f.check(err)
		for line := range strings.Lines(clients) {
			if id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " "); strings.Contains(line, "flags=tB") || strings.Contains(line, "flags=BtB") || strings.Contains(line, " flags=t") {
				f.check(f.raw.Do(ctx, "client", "kill", "id", id).Err())
			}
		}
		l.recovers(t, before)
	}
	stop.Store(true)
	loads.Wait()
}

// hook counts what a client sends.
type hook struct{ sent atomic.Int64 }

func (h *hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.sent.Add(1); return next(ctx, cmd) }
}

func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { h.sent.Add(1); return next(ctx, cmds) }
}

// The hooks of the user's client are called while a watcher vouches as well.
func TestHooksAreCalledOnThePath(t *testing.T) {
	f := start(t)
	client := f.server.Client()
	var h hook
	client.AddHook(&h)
	w := tracking.Start(client, "p:")
	l := listen(t, w)
	for _, state := range []string{"at first", "while it stands", "after a loss"} {
		switch state {
		case "while it stands":
			l.standing(t)
		case "after a loss":
			f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
			l.revoked(t)
		}
		for name, commands := range map[string][]redis.Cmder{
			"a command":  {redis.NewStatusCmd(ctx, "get", "p:u")},
			"a pipeline": {redis.NewStatusCmd(ctx, "get", "p:u"), redis.NewStatusCmd(ctx, "get", "p:u")},
		} {
			sent := h.sent.Load()
			poll.Until(t, name, func() bool { return w.Send(ctx, commands...) == redis.Nil })
			if h.sent.Load() == sent {
				t.Errorf("%s the hook hasn't seen %s", state, name)
			}
		}
	}
}

// A client's own cache knows no bound for a connection that hangs: nothing is read from it, whether
// commands go through the client or through connections of the watch session's own.
func TestTheClientsOwnCacheIsNotAsked(t *testing.T) {
	f := start(t)
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), ClientSideCacheConfig: &redis.ClientSideCacheConfig{}})
	defer func() { f.check(client.Close()) }()
	w := tracking.Start(client, "p:")
	read := func(state string) {
		f.check(f.raw.ConfigResetStat(ctx).Err())
		for range 3 {
			if err := w.Send(ctx, redis.NewStringCmd(ctx, "get", "p:u")); err != redis.Nil {
				t.Fatal(err)
			}
		}
		if got := f.raw.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_get"); !strings.HasPrefix(got, "calls=3,") {
			t.Errorf("%s, of 3 reads the server knows %s", state, got)
		}
	}
	read("through the client")
	l := listen(t, w)
	l.standing(t)
	read("while it is watched")
}

// rotating credentials are pushed by a provider.
type rotating struct{}

func (rotating) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	return auth.NewBasicCredentials("default", "pw"), func() error { return nil }, nil
}

func TestWatchWithStreamingCredentials(t *testing.T) {
	f := start(t)
	f.check(f.raw.ConfigSet(ctx, "requirepass", "pw").Err())
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), StreamingCredentialsProvider: rotating{}})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:")
	l.standing(t)
	f.check(w.Send(ctx, redis.NewStatusCmd(ctx, "set", "p:u", "a")))
}

// A panic of what a client's options call ends an attempt, and not the process.
func TestWatchSurvivesAPanic(t *testing.T) {
	f := start(t)
	var sound atomic.Bool
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), OnConnect: func(context.Context, *redis.Conn) error {
		if !sound.Load() {
			panic(secretValue)
		}
		return nil
	}})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:")
	poll.Until(t, "the reason", func() bool { return w.InvalidationErr() != nil })
	if err := w.InvalidationErr(); !strings.Contains(err.Error(), "a panic while changes were watched") {
		t.Error(err)
	} else {
		private(t, err)
	}
	sound.Store(true)
	l.standing(t)
	if err := w.InvalidationErr(); err != nil {
		t.Error(err)
	}
}

// A watcher that takes its time to end doesn't lead the commands of the next one back to the client.
func TestALateEndLeavesTheNextPathAlone(t *testing.T) {
	_, b, proxy := twoServers(t)
	var (
		hold    atomic.Bool
		held    = make(chan struct{})
		release = make(chan struct{})
	)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1, OnConnect: func(context.Context, *redis.Conn) error {
		if hold.CompareAndSwap(true, false) {
			close(held)
			<-release
		}
		return nil
	}})
	t.Cleanup(func() { _ = client.Close() })
	w := tracking.Start(client, "p:", tracking.ProofLife(time.Hour))
	if at := read(t, w); at != "a" { // on a connection of the client's own
		t.Fatalf("read from %q", at)
	}
	hold.Store(true)
	stop := w.Subscribe(newWitness())
	<-held
	stop() // doesn't wait for ever
	proxy.Lead(b.server.Addr())
	l := listen(t, w)
	l.standing(t)
	close(release)
	poll.Until(t, "the end of the first watcher", func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "tracking.(*watcher).run(") == 1
	})
	if at := read(t, w); at != "b" {
		t.Errorf("read from %q, as the end of another watch led there", at)
	}
}
