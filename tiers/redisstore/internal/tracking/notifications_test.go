package tracking_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// noTracking are the flags of a server that lacks CLIENT TRACKING and sends keyspace notifications.
var noTracking = []string{"--rename-command", "CLIENT", "", "--notify-keyspace-events", "Kg$xe"}

// without is a client of a proxy that gives its own reply to some commands.
func without(t *testing.T, f *fixture, reply func(command []string) string) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: redistest.StartRelay(t, f.server.Addr(), reply)})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Where a server lacks CLIENT TRACKING, in whatever way, keyspace notifications take its place.
func TestWatchByNotifications(t *testing.T) {
	events := func(t *testing.T, more ...string) *fixture {
		return start(t, append([]string{"--notify-keyspace-events", "KA"}, more...)...)
	}
	for name, client := range map[string]func(*testing.T) redis.UniversalClient{
		"no CLIENT": func(t *testing.T) redis.UniversalClient { return start(t, noTracking...).server.Client() },
		"no HELLO": func(t *testing.T) redis.UniversalClient {
			return events(t, "--rename-command", "HELLO", "").server.Client()
		},
		"RESP2 alone": func(t *testing.T) redis.UniversalClient {
			return without(t, events(t), func(command []string) string {
				if command[0] == "hello" && command[1] == "3" {
					return "-NOPROTO unsupported protocol version\r\n"
				}
				return ""
			})
		},
		"tracking that is accepted, and does nothing": func(t *testing.T) redis.UniversalClient {
			return without(t, events(t), func(command []string) string {
				if len(command) > 1 && command[1] == "tracking" {
					return "+OK\r\n"
				}
				return ""
			})
		},
		"a user's right": func(t *testing.T) redis.UniversalClient {
			f := events(t)
			f.check(f.raw.Do(ctx, "acl", "setuser", "x", "on", ">"+secretValue, "~p:*", "resetchannels", "&__keyspace@0__:p:*",
				"+hello", "+ping", "+psubscribe", "+set", "+del", "+get").Err())
			client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), Username: "x", Password: secretValue})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
		"another database": func(t *testing.T) redis.UniversalClient {
			client := redis.NewClient(&redis.Options{Addr: start(t, noTracking...).server.Addr(), DB: 3})
			t.Cleanup(func() { _ = client.Close() })
			return client
		},
		"a cluster": func(t *testing.T) redis.UniversalClient { return redistest.StartCluster(t, 3, noTracking...).Client() },
	} {
		t.Run(name, func(t *testing.T) {
			client := client(t)
			_, l := watch(t, client, "p:", tracking.Trial(trial))
			l.standing(t)
			for n := range 20 {
				key := fmt.Sprint(n)
				if err := client.Set(ctx, "p:"+key, "1", ttl).Err(); err != nil {
					t.Fatal(err)
				}
				l.changes(t, key)
			}
			if len(l.reasons) > 0 {
				t.Errorf("notified of %q", l.log)
			}
		})
	}
}

// A server that doesn't send what is needed is found out before anything is vouched for.
func TestWatchByTooFewNotifications(t *testing.T) {
	for _, events := range []string{"", "KEx", "Kg", "K$", "E$g"} {
		t.Run(events, func(t *testing.T) {
			f := start(t, "--rename-command", "CLIENT", "", "--notify-keyspace-events", events)
			_, l := watch(t, f.server.Client(), "p:")
			l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
			private(t, l.reasons[0])
			if text := l.reasons[0].Error(); l.vouches > 0 || !strings.Contains(text, "doesn't have, or allow, the command") || !strings.Contains(text, "notify-keyspace-events") {
				t.Errorf("notified of %q, %s", l.log, text)
			}
		})
	}
	// A proxy that hides several servers, and doesn't pass on the notifications of one.
	f, keys := start(t, noTracking...), atomic.Int64{}
	some := func(command []string) string {
		if command[0] == "del" && keys.Add(1)%16 == 0 {
			return ":1\r\n"
		}
		return ""
	}
	_, l := watch(t, without(t, f, some), "p:")
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	if l.vouches > 0 {
		t.Errorf("notified of %q", l.log)
	}
}

// A fault that passes doesn't show that a server sends none: while they are tried for the first time, as on a busy
// machine, nor later, however long it takes.
func TestNotificationsAfterAFaultThatPasses(t *testing.T) {
	var hung, pings atomic.Int64
	hangs := func(command []string) string {
		if command[0] == "ping" && pings.Add(1) <= hung.Load() {
			return redistest.Silence
		}
		return ""
	}
	hung.Store(1)
	_, l := watch(t, without(t, start(t, noTracking...), hangs), "p:",
		tracking.Lease(100*time.Millisecond), tracking.RetryAfter(time.Hour), tracking.Trial(time.Second))
	l.standing(t)
	missed := l.count()
	hung.Store(math.MaxInt64)
	began, tries := time.Now(), pings.Load()
	l.await(t, "tries for longer than a trial", func() bool { return time.Since(began) > 2*time.Second && pings.Load() > tries+5 })
	hung.Store(0)
	l.recovers(t, missed)
	if len(l.reasons) > 0 {
		t.Errorf("notified of %q", l.log)
	}
}

// The prefix is a text and no pattern, and a notification's channel isn't a part of it.
func TestWatchOfAPrefixThatLooksLikeAPattern(t *testing.T) {
	f := start(t, noTracking...)
	for _, prefix := range []string{"p*", "p?[a-z]", `p\`, "p]:", "p[^x"} {
		_, l := watch(t, f.server.Client(), prefix)
		l.standing(t)
		for _, key := range []string{"pxx", "p1b", "p", "pa:", "pp", prefix + "a"} {
			f.set(key, "1")
		}
		l.changes(t, "a")
		l.mu.Lock()
		for id := range l.ids {
			if id != "a" && !strings.HasPrefix(id, "strata-canary-") {
				t.Errorf("notified of %q under the prefix %q", id, prefix)
			}
		}
		l.mu.Unlock()
	}
}

// A loss of the connection invalidates all, and a server that stops notifying is vouched for no more.
func TestNotificationsThatEnd(t *testing.T) {
	f := start(t, noTracking...)
	proxy := redistest.StartProxy(t, f.server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:", tracking.ProofLife(50*time.Millisecond))
	l.standing(t)
	missed := l.count()
	proxy.Cut()
	l.recovers(t, missed)
	f.check(f.raw.ConfigSet(ctx, "notify-keyspace-events", "").Err())
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 && l.until.IsZero() })
	f.check(f.raw.ConfigSet(ctx, "notify-keyspace-events", "KA").Err())
	l.standing(t)
}

// A server that learns CLIENT TRACKING while it notifies is watched by that from then on.
func TestNotificationsGiveWayToTracking(t *testing.T) {
	f := start(t, "--notify-keyspace-events", "KA")
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-client|tracking").Err())
	_, l := watch(t, f.server.Client(), "p:", tracking.RetryAfter(20*time.Millisecond))
	l.standing(t)
	missed := l.count()
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+client|tracking").Err())
	l.recovers(t, missed)
	poll.Until(t, "only CLIENT TRACKING is in use", func() bool {
		all := f.raw.ClientList(ctx).Val()
		return strings.Contains(all, "flags=tB ") && !strings.Contains(all, " psub=1 ")
	})
	for n := range 20 {
		key := fmt.Sprint(n)
		f.set("p:"+key, "1")
		l.changes(t, key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reasons) > 0 {
		t.Errorf("notified of %q", l.log)
	}
}

// A proxy that hides several servers, and tracks on one of them, doesn't have notifications given up.
func TestNotificationsStayBehindAProxyOfSeveralServers(t *testing.T) {
	var (
		trials, keys atomic.Int64
		elsewhere    atomic.Value // the key that is written at the other server
		allowed      atomic.Bool
	)
	proxy := func(command []string) string {
		tracks := len(command) > 1 && command[1] == "tracking"
		switch {
		case tracks && !allowed.Load():
			return "-ERR unknown command\r\n"
		case tracks:
			trials.Add(1)
		case command[0] == "set" && command[len(command)-1] != "nx" && allowed.Load() && keys.Add(1)%8 == 0:
			elsewhere.Store(command[1])
			return "+OK\r\n"
		case command[0] == "del" && command[1] == elsewhere.Load():
			return ":1\r\n"
		}
		return ""
	}
	f := start(t, "--notify-keyspace-events", "KA")
	_, l := watch(t, without(t, f, proxy), "p:", tracking.RetryAfter(20*time.Millisecond), tracking.Trial(2*time.Second),
		tracking.ProofLife(time.Hour), tracking.Lease(time.Minute))
	wantQuietTrials(t, l, &allowed, &trials)
}

// wantQuietTrials fails the test if trials of CLIENT TRACKING, which is allowed once notifications stand, show in what is notified of.
func wantQuietTrials(t *testing.T, l *witness, allowed *atomic.Bool, trials *atomic.Int64) {
	t.Helper()
	l.standing(t)
	missed := l.count()
	allowed.Store(true)
	l.await(t, "some trials", func() bool { return trials.Load() > 2 })
	if l.count() != missed {
		t.Errorf("notified of %q", l.log)
	}
}

// Nor does a server that takes CLIENT TRACKING, and soon refuses what that needs.
func TestNotificationsStayWhereTrackingDoesNotLast(t *testing.T) {
	var trials, hellos atomic.Int64
	var allowed atomic.Bool
	refuses := func(command []string) string {
		switch {
		case len(command) > 1 && command[1] == "tracking":
			if !allowed.Load() {
				return "-ERR unknown command\r\n"
			}
			trials.Add(1)
			hellos.Store(0)
		case command[0] == "hello" && command[1] == "3" && hellos.Add(1) > 3 && allowed.Load(): // it stands with the third
			hellos.Store(0)
			return "-NOPROTO unsupported protocol version\r\n"
		}
		return ""
	}
	f := start(t, "--notify-keyspace-events", "KA")
	_, l := watch(t, without(t, f, refuses), "p:", tracking.RetryAfter(20*time.Millisecond), tracking.Trial(10*time.Second),
		tracking.Lease(4*time.Second))
	wantQuietTrials(t, l, &allowed, &trials)
}

// No notification says that all keys were removed: a key that is gone does.
func TestATripwireShowsThatAllKeysWereRemoved(t *testing.T) {
	f := start(t, noTracking...)
	_, l := watch(t, f.server.Client(), "p:", tracking.ProofLife(time.Hour))
	l.standing(t)
	for range 3 {
		missed := l.count()
		f.check(f.raw.FlushAll(ctx).Err())
		l.await(t, "a flush", func() bool { return l.missed > missed })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.log, "revoked") {
		t.Errorf("notified of %q", l.log)
	}
}

// A tripwire whose slot has moved gives way to another one, on the same connection.
func TestATripwireWhoseSlotMoves(t *testing.T) {
	c := redistest.StartCluster(t, 3, noTracking...)
	_, l := watch(t, c.Client(), "p:", tracking.ProofLife(time.Hour))
	l.standing(t)
	subscriptions := func() (all string) {
		for _, s := range c.Masters {
			calls, _, _ := strings.Cut(s.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_psubscribe"), ",")
			all += calls + " "
		}
		return all
	}
	wire := func(s *redistest.Server) string {
		keys, err := s.Client().Keys(ctx, "p:*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("a master holds %d keys: %v", len(keys), err)
		}
		return keys[0]
	}
	from, to, before, missed := c.Masters[0], c.Masters[1], subscriptions(), l.count()
	slot, err := from.Client().ClusterKeySlot(ctx, wire(from)).Result()
	if err != nil {
		t.Fatal(err)
	}
	c.Move(int(slot), from, to)
	l.recovers(t, missed)
	l.await(t, "another tripwire", func() bool { return from.Client().DBSize(ctx).Val() == 1 })
	missed = l.count()
	if err := from.Client().FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	l.await(t, "a flush", func() bool { return l.missed > missed })
	if after := subscriptions(); after != before {
		t.Errorf("subscriptions of the masters: %s, and %s after the move", before, after)
	}
}

// A master that became a replica is noticed also if it has no HELLO to say so.
func TestNotificationsOfAReplicaWithoutHello(t *testing.T) {
	f := start(t, append(noTracking, "--rename-command", "HELLO", "")...)
	_, l := watch(t, f.server.Client(), "p:", tracking.ProofLife(time.Hour))
	l.standing(t)
	becomesReplica(t, f, l)
}

// A server that is full takes no canaries, so that nothing shows whether it still notifies. One that is full from the
// beginning says so.
func TestNotificationsOfAServerThatIsFull(t *testing.T) {
	f := start(t, append(noTracking, "--maxmemory", "1")...)
	_, early := watch(t, f.server.Client(), "p:", tracking.Trial(trial))
	early.await(t, "unsupported", func() bool { return len(early.reasons) > 0 })
	if reason := early.reasons[0].Error(); early.vouches > 0 || !strings.Contains(reason, "OOM") {
		t.Errorf("notified of %q, %s", early.log, reason)
	}
	f.check(f.raw.ConfigSet(ctx, "maxmemory", "0").Err())
	_, l := watch(t, f.server.Client(), "p:", tracking.ProofLife(50*time.Millisecond))
	l.standing(t)
	missed := l.count()
	f.check(f.raw.ConfigSet(ctx, "maxmemory", "1").Err())
	l.revoked(t)
	f.check(f.raw.ConfigSet(ctx, "maxmemory", "0").Err())
	l.recovers(t, missed)
}
