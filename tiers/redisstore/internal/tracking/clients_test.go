package tracking_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// Whatever a client's options say, changes arrive, commands go to the server that is watched, and both do again
// after the connections were lost.
func TestWatchWithEachOption(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis")
	server := redistest.Start(t, "--unixsocket", socket)
	secure, trust := startTLS(t, server.Addr())
	for name, change := range map[string]func(*testing.T, *redis.Options){
		"database":         func(_ *testing.T, o *redis.Options) { o.DB = 5 },
		"Unix socket":      func(_ *testing.T, o *redis.Options) { o.Network, o.Addr = "unix", socket },
		"TLS":              func(_ *testing.T, o *redis.Options) { o.Addr, o.TLSConfig = secure, trust },
		"IPv6":             func(t *testing.T, o *redis.Options) { o.Addr = viaIPv6(t, server.Addr()) },
		"RESP2":            func(_ *testing.T, o *redis.Options) { o.Protocol = 2 },
		"name":             func(_ *testing.T, o *redis.Options) { o.ClientName = "app" },
		"no identity":      func(_ *testing.T, o *redis.Options) { o.DisableIdentity = true },
		"no time-outs":     func(_ *testing.T, o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 },
		"one connection":   func(_ *testing.T, o *redis.Options) { o.PoolSize, o.MaxActiveConns = 1, 1 },
		"idle connections": func(_ *testing.T, o *redis.Options) { o.MinIdleConns = 3 },
		"LIFO":             func(_ *testing.T, o *redis.Options) { o.PoolFIFO = true },
		"contexts":         func(_ *testing.T, o *redis.Options) { o.ContextTimeoutEnabled = true },
		"credentials": func(_ *testing.T, o *redis.Options) {
			o.CredentialsProvider = func() (string, string) { return "", "" }
		},
		"notifications": func(_ *testing.T, o *redis.Options) {
			o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeAuto}
		},
		"pipelines": func(_ *testing.T, o *redis.Options) { o.PipelinePoolSize, o.PipelineReadBufferSize = 2, 1<<16 },
	} {
		for _, prefix := range []string{"p:", "a*[b]?{tag}\\:", ""} {
			t.Run(name+" "+prefix, func(t *testing.T) {
				o := redis.Options{Addr: server.Addr()}
				change(t, &o)
				client, raw := redis.NewClient(&o), redis.NewClient(&redis.Options{Addr: server.Addr(), DB: o.DB})
				t.Cleanup(func() { _ = client.Close(); _ = raw.Close() })
				f := &fixture{T: t, server: server, raw: raw}
				w, l := watch(t, client, prefix, tracking.Lease(time.Minute))
				for range 2 {
					l.standing(t)
					before := l.count()
					l.forget()
					f.check(w.Send(ctx, redis.NewStatusCmd(ctx, "set", prefix+"own", "1"), redis.NewStatusCmd(ctx, "set", prefix+"piped", "1")))
					f.check(raw.Set(ctx, prefix+"other", "1", 0).Err())
					l.changes(t, "own")
					l.changes(t, "piped")
					l.changes(t, "other")
					f.check(raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
					l.recovers(t, before)
				}
			})
		}
	}
}

// startTLS forwards TLS connections to an address, and returns its own and who vouches for it.
func startTLS(t *testing.T, target string) (addr string, trust *tls.Config) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", certified.TLS)
	if err != nil {
		t.Fatal(err)
	}
	forward(t, listener, target)
	return listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// viaIPv6 is an address that leads to another one, on hosts that have IPv6.
func viaIPv6(t *testing.T, target string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	forward(t, listener, target)
	return listener.Addr().String()
}

// forward passes on what clients of a listener and a server send, until the test ends.
func forward(t *testing.T, listener net.Listener, target string) {
	var all sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_, _ = client.Close(), server.Close()
			}
			all.Go(func() { pass(server, client) })
			all.Go(func() { pass(client, server) })
		}
	})
}
