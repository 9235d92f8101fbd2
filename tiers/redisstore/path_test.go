package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// listens is a witness of a storage's watch, which ends with the test.
func listens(t *testing.T, s *redisstore.Storage) *witness {
	t.Helper()
	l := newWitness()
	t.Cleanup(s.Subscribe(l))
	return l
}

// twoServers hold different states of one session under one address, which leads to the first.
func twoServers(t *testing.T) (a, b *fixture, proxy *redistest.Proxy) {
	t.Helper()
	a, b = start(t), start(t)
	a.set("p:u", `{"at":"a"}`)
	b.set("p:u", `{"at":"b"}`)
	return a, b, redistest.StartProxy(t, a.server.Addr())
}

func (f *fixture) at(s *redisstore.Storage) string {
	f.Helper()
	at, _ := f.base(s, "u").Map()["at"].(string)
	return at
}

// Connections from before a move may lead to a server that was demoted, and lags.
func TestCommandsLeaveTheServerThatTheAddressHasLeft(t *testing.T) {
	a, b, proxy := twoServers(t)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	s := redisstore.New(client, redisstore.Prefix("p:"))
	if at := a.at(s); at != "a" { // on a connection of the client's own
		t.Fatalf("read from %q", at)
	}
	l := listens(t, s)
	l.standing(t)
	if at := a.at(s); at != "a" {
		t.Fatalf("read from %q", at)
	}
	before := l.count()
	proxy.Lead(b.server.Addr())
	a.check(a.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.recovers(t, before)
	if at := a.at(s); at != "b" {
		t.Errorf("read from %q, which the address has left", at)
	}
	m := a.load(s, "u")
	m.Set("k", 1)
	a.check(s.SetSession(ctx, "u", m, ttl))
	b.want("p:u", `{"at":"b","k":1}`)
}

// The same where nobody vouches after the move.
func TestCommandsLeaveTheServerAlsoWhereNothingIsAnnounced(t *testing.T) {
	a, b, proxy := twoServers(t)
	b.check(b.raw.Do(ctx, "acl", "setuser", "default", "-client|tracking").Err())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { _ = client.Close() })
	s := redisstore.New(client, redisstore.Prefix("p:"))
	l := listens(t, s)
	l.standing(t)
	a.at(s)
	proxy.Lead(b.server.Addr())
	a.check(a.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	if at := a.at(s); at != "b" {
		t.Errorf("read from %q, which the address has left", at)
	}
}

// A new connection that leads elsewhere is found before its first command, and what was asked
// is asked where the address leads.
func TestANewConnectionProvesItself(t *testing.T) {
	a, b, proxy := twoServers(t)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ConnMaxLifetime: 20 * time.Millisecond, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	s := redisstore.New(client, redisstore.Prefix("p:"), redisstore.StorageProofLife(time.Hour))
	l := listens(t, s)
	l.standing(t)
	proxy.Lead(b.server.Addr())
	before := l.count()
	for a.at(s) == "a" { // by a connection that there is
		l.mu.Lock()
		if l.missed > before {
			t.Error("the end of the round came before that of its connections")
		}
		l.mu.Unlock()
	}
	l.recovers(t, before)
	if at := a.at(s); at != "b" {
		t.Errorf("read from %q", at)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reasons) > 0 {
		t.Errorf("told %q", l.reasons)
	}
}

// The end of a channel fails no command, and none is lost on a connection that is closed.
func TestALostChannelFailsNoCommand(t *testing.T) {
	f := start(t)
	f.set("p:u", `{"at":"a"}`)
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	s := redisstore.New(client, redisstore.Prefix("p:"))
	l := listens(t, s)
	l.standing(t)
	var (
		stop  atomic.Bool
		loads sync.WaitGroup
	)
	for range 4 {
		loads.Go(func() {
			for !stop.Load() {
				if _, err := s.Load(ctx, "u", ttl); err != nil {
					t.Error(err, errors.Unwrap(err))
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

// The hooks of the user's client are called while a watcher vouches as well.
func TestHooksAreCalledOnThePath(t *testing.T) {
	f := start(t)
	f.set("u", `{"at":"a"}`)
	s, p := f.probed()
	l := listens(t, s)
	for _, state := range []string{"at first", "while it stands", "after a loss"} {
		switch state {
		case "while it stands":
			l.standing(t)
		case "after a loss":
			f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
			l.revoked(t)
		}
		p.reset(nil)
		f.await(func() bool { _, err := s.Load(ctx, "u", ttl); return err == nil })
		trips := p.seen()
		if len(trips) == 0 || trips[len(trips)-1] != "pttl get" {
			t.Errorf("%s the hook has seen %q", state, trips)
		}
	}
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
	s := redisstore.New(client)
	l := listens(t, s)
	l.standing(t)
	f.check(s.SetSession(ctx, "u", gmap.NewStrAnyMapFrom(values{"k": "v"}, true), ttl))
	if _, err := s.Load(ctx, "u", ttl); err != nil {
		t.Error(err)
	}
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
	l.await(t, "the reason", func() bool { return w.InvalidationErr() != nil })
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
