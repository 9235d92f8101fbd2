package tracking_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// trial is long enough for several tries.
const trial = 400 * time.Millisecond

func TestWatchUnsupported(t *testing.T) {
	user := func(t *testing.T, rules ...any) *redis.Client {
		server := redistest.Start(t)
		if err := server.Client().Do(ctx, append([]any{"acl", "setuser", "x", "on", ">" + secretValue, "~*", "&*", "+@all"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "x", Password: secretValue})
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	for name, client := range map[string]func(*testing.T) redis.UniversalClient{
		"tracking forbidden": func(t *testing.T) redis.UniversalClient { return user(t, "-client|tracking") },
		"client forbidden":   func(t *testing.T) redis.UniversalClient { return user(t, "-client") },
		"no CLIENT": func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, "--rename-command", "CLIENT", "").Client()
		},
		"no HELLO": func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, "--rename-command", "HELLO", "").Client()
		},
		"Redis 5": func(t *testing.T) redis.UniversalClient { return fake(t, redistest.Redis5) },
		"no RESP3": func(t *testing.T) redis.UniversalClient {
			return fake(t, func(command []string) string {
				if command[0] == "hello" {
					return "-NOPROTO unsupported protocol version\r\n"
				}
				return "+OK\r\n"
			})
		},
		"Redis 6.0 without BCAST": func(t *testing.T) redis.UniversalClient {
			return fake(t, func(command []string) string {
				switch {
				case command[0] == "hello":
					return redistest.Hello3
				case len(command) > 1 && command[1] == "tracking":
					return "-ERR syntax error\r\n"
				}
				return "+OK\r\n"
			})
		},
		"a proxy's own words": func(t *testing.T) redis.UniversalClient {
			return fake(t, func(command []string) string {
				switch {
				case command[0] == "hello":
					return redistest.Hello3
				case len(command) > 1 && command[1] == "tracking":
					return "-ERR command 'client' is not allowed in this plan, " + secretKey + "\r\n"
				}
				return "+OK\r\n"
			})
		},
		"HELLO forbidden": func(t *testing.T) redis.UniversalClient { // Redis 6; later ones allow it to all
			return fake(t, func(command []string) string {
				if command[0] == "hello" {
					return "-NOPERM this user has no permissions to run the 'hello' command or its subcommand\r\n"
				}
				return redistest.Redis5(command)
			})
		},
		"no TRACKING": func(t *testing.T) redis.UniversalClient { // as some rented servers say it
			return fake(t, func(command []string) string {
				switch {
				case command[0] == "hello":
					return redistest.Hello3
				case command[0] == "client":
					return "-ERR unknown subcommand 'tracking'. Try CLIENT HELP.\r\n"
				}
				return redistest.Redis6(command)
			})
		},
		"HELLO refused": func(t *testing.T) redis.UniversalClient {
			return fake(t, func(command []string) string {
				if command[0] == "hello" {
					return "-WHATEVER " + secretKey + "\r\n"
				}
				return "+OK\r\n"
			})
		},
		"RESP2 in answer to HELLO 3": func(t *testing.T) redis.UniversalClient {
			return fake(t, func(command []string) string {
				if command[0] == "hello" {
					return strings.Replace(redistest.Hello3, ":3", ":2", 1)
				}
				return redistest.Redis6(command)
			})
		},
		"CLUSTER NODES forbidden": func(t *testing.T) redis.UniversalClient {
			server := redistest.Start(t, "--cluster-enabled", "yes")
			for _, command := range [][]any{{"cluster", "addslotsrange", 0, 16383}, {"acl", "setuser", "default", "-cluster|nodes"}} {
				if err := server.Client().Do(ctx, command...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
		"ring": func(t *testing.T) redis.UniversalClient {
			client := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}, HeartbeatFrequency: time.Hour})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, l := watch(t, client(t), secretKey, tracking.Trial(trial))
			l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
			private(t, l.reasons[0])
			if strings.Contains(l.reasons[0].Error(), "EVAL") {
				t.Errorf("names commands that aren't missed: %v", l.reasons[0])
			}
			late := newWitness()
			w.Subscribe(late)
			if len(late.reasons) != 1 || len(late.log) != 1 || len(l.reasons) != 1 || len(l.log) != 1 {
				t.Errorf("notified of %q, and a late listener %q", l.log, late.log)
			}
		})
	}
}

// A server that learns it is watched from then on.
func TestWatchTurnsSupported(t *testing.T) {
	f := start(t)
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-client|tracking").Err())
	w, l := watch(t, f.server.Client(), "p:", tracking.RetryAfter(20*time.Millisecond), tracking.Lease(time.Minute))
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+client|tracking").Err())
	l.standing(t)
	if got := fmt.Sprint(l.log); got != "[unsupported missed vouched]" {
		t.Errorf("notified of %s", got)
	}
	late := newWitness()
	w.Subscribe(late)
	if got := fmt.Sprint(late.log); got != "[missed vouched]" {
		t.Errorf("a late listener was notified of %s", got)
	}
	f.check(f.raw.Set(ctx, "p:a", "1", 0).Err())
	l.changes(t, "a")
}

// A server that has notified before is asked again soon: its operator may have taken a right away by mistake.
func TestWatchAfterARightWasTakenAway(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:", tracking.RetryAfter(time.Hour))
	l.standing(t)
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-client|tracking").Err())
	f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	before := l.count()
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+client|tracking").Err())
	l.recovers(t, before)
	f.check(f.raw.Set(ctx, "p:a", "1", 0).Err())
	l.changes(t, "a")
}

// A passing fault doesn't make a server unsupported.
func TestWatchFaultsThatPass(t *testing.T) {
	for name, fault := range map[string]string{
		"loading": "-LOADING Redis is loading the dataset in memory\r\n",
		"full":    "-ERR max number of clients reached\r\n",
		"closed":  "",
		"noauth":  "-NOAUTH Authentication required.\r\n",
		"nopass":  "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
		"busy":    "-BUSY Redis is busy running a script.\r\n",
		"down":    "-CLUSTERDOWN Hash slot not served\r\n",
		"replica": strings.Replace(redistest.Hello3, "$6\r\nmaster", "$7\r\nreplica", 1),
		"garbage": "what?\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var (
				mu    sync.Mutex
				tries int
			)
			client := fake(t, func(command []string) string {
				mu.Lock()
				defer mu.Unlock()
				switch command[0] {
				case "hello":
					if tries++; tries <= 6 {
						return fault
					}
					return redistest.Hello3
				default:
					return redistest.Redis6(command)
				}
			})
			_, l := watch(t, client, "p:", tracking.Trial(time.Minute))
			l.standing(t)
			if len(l.reasons) > 0 {
				t.Errorf("notified that the server is unsupported: %v", l.reasons)
			}
		})
	}
}

// A server that takes the password and yet lets nobody receive invalidations counts as one
// that can't send them after some tries, with what the last of them ended with.
func TestWatchGivesUpAfterSomeTries(t *testing.T) {
	at := func(answer string) func(*testing.T) *redis.Client {
		return func(t *testing.T) *redis.Client {
			return fake(t, func(command []string) string {
				switch {
				case command[0] == "hello":
					return redistest.Hello3
				case len(command) > 1 && command[1] == "tracking":
					return answer
				}
				return redistest.Redis6(command)
			})
		}
	}
	for name, test := range map[string]struct {
		client func(*testing.T) *redis.Client
		reason string
	}{
		"hangs up at CLIENT TRACKING":      {at(""), "the server closed the connection"},
		"never replies to CLIENT TRACKING": {at(redistest.Silence), "timed out"},
		"puts CLIENT TRACKING off":         {at("-TRYAGAIN later\r\n"), "TRYAGAIN"},
		"keeps invalidations to itself":    {func(t *testing.T) *redis.Client { return fake(t, swallowing) }, "followed by no invalidation"},
		"never replies to a ping on a channel": {func(t *testing.T) *redis.Client {
			return fake(t, func(command []string) string {
				if command[0] == "ping" {
					return redistest.Silence
				}
				return swallowing(command)
			})
		}, "no pong"},
		"is full": {func(t *testing.T) *redis.Client {
			f := start(t)
			f.check(f.raw.ConfigSet(ctx, "maxmemory", "1").Err())
			return f.raw
		}, "OOM"},
		"is a replica": {func(t *testing.T) *redis.Client {
			f := start(t)
			f.check(f.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
			return f.raw
		}, "replica"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := watch(t, test.client(t), "p:", tracking.Trial(trial), tracking.Lease(300*time.Millisecond))
			l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
			private(t, l.reasons[0])
			if l.vouches > 0 {
				t.Errorf("notified of %q", l.log)
			}
			// A busy machine may take longer than the trial for the first of them.
			l.await(t, "the reason "+test.reason, func() bool { return strings.Contains(w.InvalidationErr().Error(), test.reason) })
		})
	}
}

// A server that is loading gives nobody data: what memory holds from before isn't given up.
func TestWatchOfAServerThatLoads(t *testing.T) {
	var (
		loading atomic.Bool
		pings   atomic.Int64
	)
	client := fake(t, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "ping" && loading.Load():
			pings.Add(1)
			return "-LOADING Redis is loading the dataset in memory\r\n"
		}
		return redistest.Redis6(command)
	})
	w, l := watch(t, client, "p:", tracking.Trial(trial))
	l.standing(t)
	before := l.count()
	loading.Store(true)
	began := time.Now()
	l.await(t, "tries for longer than a trial", func() bool { return pings.Load() > 5 && time.Since(began) > 2*trial })
	if err := w.InvalidationErr(); err == nil || !strings.Contains(err.Error(), "LOADING: the server is starting") {
		t.Errorf("InvalidationErr is %v", err)
	}
	l.mu.Lock()
	if l.missed > before || len(l.reasons) > 0 {
		t.Errorf("notified of %q", l.log)
	}
	l.mu.Unlock()
	loading.Store(false)
	l.recovers(t, before)
}

// A server that is away, or wants another password, gives no data either: it says nothing of
// what it can do. InvalidationErr has the reason.
func TestWatchOfAServerThatLetsNobodyIn(t *testing.T) {
	f := start(t)
	f.check(f.raw.ConfigSet(ctx, "requirepass", "right").Err())
	for addr, reason := range map[string]string{f.server.Addr(): "WRONGPASS", "127.0.0.1:1": "connection refused"} {
		client := redis.NewClient(&redis.Options{Addr: addr, Password: "wrong"})
		t.Cleanup(func() { _ = client.Close() })
		w, l := watch(t, client, "p:")
		poll.Until(t, "the reason "+reason, func() bool { // a busy machine may have another one first
			err := w.InvalidationErr()
			return err != nil && strings.Contains(err.Error(), reason)
		})
		private(t, w.InvalidationErr())
		if len(l.log) > 0 {
			t.Errorf("notified of %q", l.log)
		}
	}
}

// Each pause is longer than the one before, so that a server where nothing changes gets fewer
// and fewer connections.
func TestWatchTriesMoreAndMoreRarely(t *testing.T) {
	var (
		mu    sync.Mutex
		tries []time.Time
	)
	client := redis.NewClient(&redis.Options{Password: "p", Addr: redistest.StartFake(t, func(command []string) string {
		if command[0] == "auth" {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Now())
		}
		return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	})})
	t.Cleanup(func() { _ = client.Close() })
	began := time.Now()
	w, _ := watch(t, client, "p:")
	defer func() { _ = w.Close(ctx) }()
	poll.Until(t, "there are seven tries", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(tries) > 6
	})
	mu.Lock()
	defer mu.Unlock()
	// A try may arrive late, and the pause after it look short: not so the sum of all pauses.
	pause, least := 8*time.Millisecond, time.Duration(0)
	for n := 1; n < len(tries); n++ {
		if least += pause; tries[n].Sub(began) < least {
			t.Errorf("try %d came after %v, want %v or more", n, tries[n].Sub(began), least)
		}
		pause *= 2
	}
	if len(tries) < 7 {
		t.Errorf("%d tries", len(tries))
	}
}
