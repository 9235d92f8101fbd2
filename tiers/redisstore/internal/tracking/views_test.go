package tracking_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// fakeSentinel names a master. It returns its address.
func fakeSentinel(t *testing.T, named func() string) string {
	return redistest.StartFake(t, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "sentinel" && command[1] == "get-master-addr-by-name":
			host, port, _ := net.SplitHostPort(named())
			return redistest.Array(redistest.Bulk(host), redistest.Bulk(port))
		case command[0] == "sentinel":
			return redistest.Array()
		case command[0] == "subscribe":
			var answer strings.Builder
			for n, channel := range command[1:] {
				fmt.Fprintf(&answer, ">3\r\n%s%s:%d\r\n", redistest.Bulk("subscribe"), redistest.Bulk(channel), n+1)
			}
			return answer.String()
		}
		return redistest.Redis6(command)
	})
}

// A master that the sentinels have left, and that doesn't know it, isn't vouched for.
func TestWatchGoesWhereSentinelsSay(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	var named atomic.Pointer[redistest.Server]
	named.Store(a)
	sentinel := fakeSentinel(t, func() string { return named.Load().Addr() })
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{sentinel}})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:", tracking.ProofLife(time.Hour)) // no canary is due by itself
	l.standing(t)
	notifies(t, l, a.Client(), "a")
	for _, next := range []*redistest.Server{b, a} {
		before := l.count()
		named.Store(next)
		l.recovers(t, before)
		notifies(t, l, next.Client(), "a")
	}
}

// While nothing changes the watcher asks on the connections that it has, the sentinels included,
// and makes no other before the next canary.
func TestWatchConnectsNoMoreWhereNothingChanges(t *testing.T) {
	for _, name := range []string{"alone", "behind sentinels"} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
			sentinel := redistest.StartProxy(t, fakeSentinel(t, proxy.Addr))
			var client *redis.Client
			if name == "alone" {
				client = redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			} else {
				client = redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{sentinel.Addr()}})
			}
			t.Cleanup(func() { _ = client.Close() })
			_, l := watch(t, client, "p:", tracking.Lease(time.Minute), tracking.ProofLife(time.Hour))
			l.standing(t)
			atMaster, atSentinel := proxy.Accepted(), sentinel.Accepted()
			l.mu.Lock()
			vouches := l.vouches
			l.mu.Unlock()
			l.await(t, "some looks", func() bool { return l.vouches > vouches+10 })
			if more := proxy.Accepted() + sentinel.Accepted() - atMaster - atSentinel; more > 0 {
				t.Errorf("%d more connections", more)
			}
		})
	}
}

// The sentinels' word is to be had without a connection to the master.
func TestSentinelsAreAskedWithoutAConnection(t *testing.T) {
	refusing := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("none") }
	for name, test := range map[string]struct {
		options  redis.FailoverOptions
		host     string
		accepted int
		none     bool
	}{
		"plain":                           {host: "127.0.0.1"},
		"a name":                          {host: "localhost"},
		"TLS":                             {host: "127.0.0.1", options: redis.FailoverOptions{TLSConfig: &tls.Config{InsecureSkipVerify: true}}},
		"a Dialer of the net package's":   {host: "127.0.0.1", options: redis.FailoverOptions{Dialer: new(net.Dialer).DialContext}},
		"a Dialer that takes any for TCP": {host: "127.0.0.1", options: redis.FailoverOptions{Dialer: tcp}, accepted: 1},
		"a Dialer with errors of its own": {host: "127.0.0.1", options: redis.FailoverOptions{Dialer: refusing}, none: true},
		"sentinels that can't be reached": {options: redis.FailoverOptions{SentinelAddrs: []string{"127.0.0.1:1"}, MaxRetries: -1, DialerRetries: 1}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.StartProxy(t, redistest.StartFake(t, redistest.Redis6))
			_, port, _ := net.SplitHostPort(proxy.Addr())
			named := net.JoinHostPort(test.host, port)
			o := test.options
			o.MasterName = "main"
			if o.SentinelAddrs == nil {
				o.SentinelAddrs = []string{fakeSentinel(t, func() string { return named })}
			}
			if o.TLSConfig != nil {
				o.SentinelAddrs[0] = overTLS(t, o.SentinelAddrs[0])
			}
			own := o.Dialer
			if own != nil { // it dials the sentinels as well
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if addr != named {
						return tcp(ctx, network, addr)
					}
					return own(ctx, network, addr)
				}
			}
			client := redis.NewFailoverClient(&o)
			t.Cleanup(func() { _ = client.Close() })
			if test.none {
				named = ""
			}
			if got, err := tracking.Ask(client); got != named || err != nil {
				t.Errorf("asked for the master: %q, %v, want %q", got, err, named)
			}
			last, err := tcp(ctx, "", proxy.Addr()) // accepted after all others
			if err != nil {
				t.Fatal(err)
			}
			for proxy.Accepted() < test.accepted+1 {
				runtime.Gosched()
			}
			if n := proxy.Accepted(); n > test.accepted+1 {
				t.Errorf("%d connections to it", n-1)
			}
			_ = last.Close()
		})
	}
}

// overTLS forwards connections to an address until the test ends.
func overTLS(t *testing.T, addr string) string {
	certificates := httptest.NewTLSServer(nil)
	t.Cleanup(certificates.Close)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", certificates.TLS)
	if err != nil {
		t.Fatal(err)
	}
	forward(t, listener, addr)
	return listener.Addr().String()
}

func tcp(ctx context.Context, _, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// A master that its address has left, and that doesn't know it, isn't vouched for.
func TestWatchGoesWhereItsAddressLeads(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	proxy := redistest.StartProxy(t, a.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:", tracking.ProofLife(200*time.Millisecond))
	l.standing(t)
	notifies(t, l, a.Client(), "a")
	for _, next := range []*redistest.Server{b, a} {
		before := l.count()
		proxy.Lead(next.Addr())
		l.recovers(t, before)
		notifies(t, l, next.Client(), "a")
	}
}

// The same where the new server takes no writes now: it may at any time, and some that are full remove keys.
func TestWatchGoesWhereItsAddressLeadsAlsoIfNothingCanBeWrittenThere(t *testing.T) {
	left := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	_, leftPort, _ := net.SplitHostPort(left.Addr())
	replica := func(f *fixture) {
		f.check(f.raw.ConfigSet(ctx, "repl-diskless-load", "on-empty-db").Err())
		f.check(f.raw.ReplicaOf(ctx, "127.0.0.1", leftPort).Err())
		poll.Until(t, "a replica", f.server.Follows)
	}
	for name, change := range map[string]func(f *fixture){
		"a replica":                   replica,
		"a replica that takes writes": func(f *fixture) { replica(f); f.check(f.raw.ConfigSet(ctx, "replica-read-only", "no").Err()) },
		"a replica that can't save":   func(f *fixture) { f.server.FailSaves(t); replica(f) },
		"one that is full":            func(f *fixture) { f.check(f.raw.ConfigSet(ctx, "maxmemory", "1").Err()) },
		"one that can't save":         func(f *fixture) { f.server.FailSaves(t) },
		"one without its replicas":    func(f *fixture) { f.check(f.raw.ConfigSet(ctx, "min-replicas-to-write", "1").Err()) },
		"one that takes another user": func(f *fixture) { f.check(f.raw.ConfigSet(ctx, "requirepass", "pw").Err()) },
	} {
		for _, by := range []string{"a canary", "a new connection"} {
			t.Run(name+", by "+by, func(t *testing.T) {
				next := start(t)
				change(next)
				proxy := redistest.StartProxy(t, left.Addr())
				options := &redis.Options{Addr: proxy.Addr()}
				life := 200 * time.Millisecond
				if by == "a new connection" {
					life, options.ConnMaxLifetime = time.Hour, 20*time.Millisecond
				}
				client := redis.NewClient(options)
				t.Cleanup(func() { _ = client.Close() })
				w, l := watch(t, client, "p:", tracking.ProofLife(life))
				l.standing(t)
				before := l.count()
				proxy.Lead(next.server.Addr())
				poll.Until(t, "the end of vouching", func() bool {
					if by == "a new connection" {
						_ = w.Send(ctx, redis.NewStringCmd(ctx, "get", "p:u"))
					}
					l.mu.Lock()
					defer l.mu.Unlock()
					return l.until.IsZero() || l.missed > before
				})
			})
		}
	}
}

// A user who may run nothing dangerous, INFO among it, follows as well, and asks for nothing
// that is refused.
func TestWatchOfACommonUser(t *testing.T) {
	a, b := start(t), start(t)
	for _, f := range []*fixture{a, b} {
		f.check(f.raw.Do(ctx, "acl", "setuser", "app", "on", ">pw", "~p:*", "+@all", "-@dangerous",
			"+client|tracking").Err()) // the last for Redis 6
	}
	proxy := redistest.StartProxy(t, a.server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), Username: "app", Password: "pw"})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:", tracking.ProofLife(200*time.Millisecond))
	l.standing(t)
	before := l.count()
	proxy.Lead(b.server.Addr())
	l.recovers(t, before)
	notifies(t, l, b.raw, "a")
	for _, f := range []*fixture{a, b} {
		if stats := f.raw.InfoMap(ctx, "errorstats").Item("Errorstats", "errorstat_NOPERM"); stats != "" {
			t.Errorf("refused: %s", stats)
		}
	}
}

// A relay that connects anew behind its client's back has lost CLIENT TRACKING, and pings are
// replied to as before.
func TestWatchFindsALostTracking(t *testing.T) {
	var lost atomic.Bool
	client := fake(t, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "client" && command[1] == "tracking":
			lost.Store(false)
		case command[0] == "set" && lost.Load():
			return "+ok\r\n" // and sends no invalidation
		}
		return redistest.Redis6(command)
	})
	_, l := watch(t, client, "p:", tracking.ProofLife(200*time.Millisecond))
	l.standing(t)
	before := l.count()
	lost.Store(true)
	l.recovers(t, before)
	if lost.Load() || len(l.reasons) > 0 {
		t.Errorf("notified of %q", l.log)
	}
}

// Masters that don't agree aren't vouched for, nor are others than those watched, nor
// a change of the configuration that has been undone.
func TestWatchClusterViews(t *testing.T) {
	const nodes = 2
	var (
		addrs [nodes]string
		views [nodes]atomic.Pointer[string]
		asked atomic.Int64

		tracked atomic.Int64
	)
	for n := range nodes {
		addrs[n] = redistest.StartFake(t, func(command []string) string {
			switch {
			case command[0] == "hello":
				return redistest.Hello3
			case command[0] == "cluster" && command[1] == "slots":
				var slots []string
				for m, addr := range addrs {
					host, port, _ := net.SplitHostPort(addr)
					slots = append(slots, redistest.Array(fmt.Sprintf(":%d\r\n", 8192*m), fmt.Sprintf(":%d\r\n", 8192*m+8191),
						redistest.Array(redistest.Bulk(host), ":"+port+"\r\n", redistest.Bulk(fmt.Sprint("id", m)), redistest.Array())))
				}
				return redistest.Array(slots...)
			case command[0] == "client" && command[1] == "tracking":
				tracked.Add(1)
			case command[0] == "cluster" && command[1] == "nodes":
				asked.Add(1)
				return redistest.Bulk(strings.Replace(*views[n].Load(), fmt.Sprintf("id%d x master", n), fmt.Sprintf("id%d x myself,master", n), 1))
			}
			return redistest.Redis6(command)
		})
	}
	view := func(epochs [nodes]int, slots [nodes]string, more string) *string {
		var text strings.Builder
		for n := range nodes {
			fmt.Fprintf(&text, "id%d x master - 0 0 %d connected %s\n", n, epochs[n], slots[n])
		}
		text.WriteString(more)
		all := text.String()
		return &all
	}
	set := func(text *string, to ...int) {
		for _, n := range to {
			views[n].Store(text)
		}
	}
	halves := [nodes]string{"0-8191", "8192-16383"}
	former := redistest.StartFake(t, func(command []string) string { // a replica since a moment ago
		if command[0] == "cluster" {
			return redistest.Bulk("id7 x myself,slave id0 0 0 1 connected\n")
		}
		return redistest.Redis6(command)
	})
	right := view([nodes]int{1, 2}, halves, "id9 x slave id0 0 0 1 connected\nid8 x master,noaddr - 0 0 0 connected\n"+
		"id7 "+former+"@1 master - 0 0 0 connected\n")
	third := view([nodes]int{1, 2}, [nodes]string{"0-8191", "8192"}, "id2 x master - 0 0 3 connected 8193-16383\n")
	set(third, 0, 1) // CLUSTER SLOTS doesn't know it yet
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs[:]})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:", tracking.Lease(time.Minute), tracking.Trial(time.Minute))
	l.await(t, "some views", func() bool { return asked.Load() > 3*nodes })
	if l.count() > 0 {
		t.Fatal("vouched without one of the masters")
	}
	set(right, 0, 1)
	l.standing(t)
	for name, wrong := range map[string]func(){
		"one has another epoch": func() { set(view([nodes]int{1, 3}, halves, ""), 0) },
		"one has another map":   func() { set(view([nodes]int{1, 2}, [nodes]string{"0-8190", "8191-16383"}, ""), 1) },
		"a third master": func() {
			set(view([nodes]int{1, 2}, [nodes]string{"0-8191", "8192"}, "id2 x master - 0 0 3 connected 8193-16383\n"), 0, 1)
		},
		"a master without slots": func() {
			set(view([nodes]int{1, 2}, halves, "id2 127.0.0.1:1@2 master - 0 0 0 connected\n"), 0)
		},
		"a slot on its way to another": func() {
			set(view([nodes]int{1, 2}, [nodes]string{"0-8191 [7->-id2]", "8192-16383"}, ""), 0)
		},
		"a replica replies": func() { text := strings.Replace(*right, "id1 x master", "id1 x slave", 1); set(&text, 0, 1) },
		"no view":           func() { text := ""; set(&text, 0, 1) },
	} {
		before := l.count()
		wrong()
		l.revoked(t)
		if l.count() != before {
			t.Errorf("%s: vouched for", name)
		}
		set(right, 0, 1)
		l.recovers(t, before)
	}

	// Changes among the members are followed on the connections that there are.
	connected := tracked.Load()
	for name, change := range map[string]*string{
		"moved away, and back": view([nodes]int{3, 2}, halves, ""),
		"one has no slots":     view([nodes]int{1, 2}, [nodes]string{"0-16383", ""}, ""),
		"some are moved":       view([nodes]int{1, 4}, [nodes]string{"0-4000", "4001-16383"}, ""),
	} {
		before := l.count()
		set(change, 0)
		l.await(t, "Missed, or the end of vouching", func() bool { return l.missed > before || l.until.IsZero() })
		set(change, 1)
		l.recovers(t, before)
		if now := tracked.Load(); now != connected {
			t.Errorf("%s: connected %d times more", name, now-connected)
		}
	}
}
