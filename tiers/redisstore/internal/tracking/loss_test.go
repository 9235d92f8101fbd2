package tracking_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// losses are what ends a connection, each undone in a second step.
func TestWatchLosses(t *testing.T) {
	for _, loss := range []struct {
		name      string
		do, undo  func(*fixture, *redistest.Proxy)
		meanwhile bool // the server takes writes between do and undo
	}{
		{"client kill", func(f *fixture, _ *redistest.Proxy) {
			f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
		}, nil, false},
		{"restart", func(f *fixture, _ *redistest.Proxy) { f.server.Stop() }, func(f *fixture, _ *redistest.Proxy) { f.server.Restart(f) }, false},
		{"cut", func(_ *fixture, p *redistest.Proxy) { p.Stall(); p.Cut() }, func(_ *fixture, p *redistest.Proxy) { p.Resume() }, true},
		{"stall", func(_ *fixture, p *redistest.Proxy) { p.Stall() }, func(_ *fixture, p *redistest.Proxy) { p.Resume() }, true},
		{"pause", func(f *fixture, _ *redistest.Proxy) { f.server.Pause() }, func(f *fixture, _ *redistest.Proxy) { f.server.Resume() }, false},
	} {
		t.Run(loss.name, func(t *testing.T) {
			f := start(t)
			proxy := redistest.StartProxy(t, f.server.Addr())
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			_, l := watch(t, client, "p:", tracking.Lease(200*time.Millisecond))
			for range 2 {
				l.standing(t)
				before := l.count()
				loss.do(f, proxy)
				if loss.undo != nil {
					l.revoked(t)
					before = l.count() // a stall may have cost the lease before
					if loss.meanwhile {
						f.check(f.raw.Set(ctx, "p:meanwhile", "1", 0).Err())
					}
					if l.count() != before {
						t.Error("Missed came before the channel stood again")
					}
					loss.undo(f, proxy)
				}
				l.recovers(t, before)
				settles(t, l, f.raw, "after")
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			for n, what := range l.log {
				if what == "vouched" && (n == 0 || l.log[n-1] == "revoked") {
					t.Errorf("vouched without Missed before: %q", l.log)
				}
			}
		})
	}
}

// The server loses a reader that hangs, as its buffer runs over, and the reader is notified then.
func TestWatchOverrun(t *testing.T) {
	f := start(t)
	f.check(f.raw.ConfigSet(ctx, "client-output-buffer-limit", "normal 65536 0 0").Err())
	w := tracking.Start(f.server.Client(), "p:", tracking.Lease(time.Minute))
	l := newWitness()
	l.stall = make(chan struct{})
	t.Cleanup(func() { f.check(w.Close(ctx)) })
	w.Subscribe(l)
	l.standing(t)
	before := l.count()
	pipe := f.raw.Pipeline()
	for n := range 1000 {
		pipe.Set(ctx, "p:"+strings.Repeat("x", 1000)+fmt.Sprint(n), "1", 0)
	}
	gone := func() bool {
		clients, err := f.raw.ClientList(ctx).Result()
		f.check(err)
		return !strings.Contains(clients, "flags=t") && !strings.Contains(clients, "flags=Bt") && !strings.Contains(clients, "flags=tB")
	}
	for end := time.Now().Add(liveness); !gone(); {
		if time.Now().After(end) {
			t.Fatal("the server's buffer never ran over")
		}
		_, err := pipe.Exec(ctx)
		f.check(err)
		for n := range 1000 {
			pipe.Set(ctx, "p:"+strings.Repeat("x", 1000)+fmt.Sprint(n), "1", 0)
		}
	}
	close(l.stall)
	l.recovers(t, before)
}

// Faults of the watcher's connections are reported by us alone: go-redis, whose lines have
// addresses, logs nothing of them.
func TestWatchKeepsGoRedisQuiet(t *testing.T) {
	with := func(addr string) *redis.Client {
		client := redis.NewClient(&redis.Options{Addr: addr, Password: "pw"})
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	replying := func(word, reply string) func(*testing.T) *redis.Client {
		return func(t *testing.T) *redis.Client {
			return with(redistest.StartFake(t, func(command []string) string {
				if strings.Contains(strings.Join(command, " "), word) {
					return reply
				}
				return redistest.Redis6(command)
			}))
		}
	}
	for name, client := range map[string]func(*testing.T) *redis.Client{
		"nothing listens":        func(*testing.T) *redis.Client { return with("127.0.0.1:1") },
		"no such host":           func(*testing.T) *redis.Client { return with("strata.invalid:1") },
		"no HELLO":               replying("hello", "-ERR unknown command\r\n"),
		"wrong password":         replying("hello", "-WRONGPASS invalid username-password pair\r\n"),
		"hangs up at HELLO":      replying("hello", ""),
		"no CLIENT TRACKING":     replying("tracking", "-ERR unknown subcommand\r\n"),
		"hangs up at TRACKING":   replying("tracking", ""),
		"hangs up at a ping":     replying("ping", ""),
		"hangs up at the canary": replying("set", ""),
		"no RESP":                replying("ping", "HTTP/1.1 400 Bad Request\r\n\r\n"),
		"cut": func(t *testing.T) *redis.Client {
			proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
			proxy.Tap(func(_ int, toServer bool, piece []byte) {
				if toServer && strings.Contains(string(piece), "ping\r\n$1\r\n3") {
					proxy.Cut()
				}
			})
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
		"takes no more connections": func(t *testing.T) *redis.Client {
			var dials atomic.Int64
			addr := redistest.StartFake(t, redistest.Redis6)
			client := redis.NewClient(&redis.Options{Addr: addr, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if dials.Add(1) > 2 {
					return nil, errors.New(addr)
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			logged.take()
			w := tracking.Start(client(t), "p:", tracking.RetryAfter(time.Millisecond), tracking.ProofLife(time.Millisecond), tracking.Lease(300*time.Millisecond))
			l := newWitness()
			w.Subscribe(l)
			poll.Until(t, "a loss", func() bool { return w.InvalidationErr() != nil })
			if err := w.Close(ctx); err != nil {
				t.Fatal(err)
			}
			for _, line := range logged.take() {
				t.Error(line)
			}
		})
	}
}
