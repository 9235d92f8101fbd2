package tracking_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// swallowing replies rightly to everything, and keeps invalidations to itself.
func swallowing(command []string) string {
	switch command[0] {
	case "hello":
		return redistest.Hello3
	case "set":
		return "+ok\r\n"
	}
	return redistest.Redis6(command)
}

// A proxy that accepts CLIENT TRACKING and passes nothing on is found out before anybody
// vouches.
func TestWatchReceivesACanaryFirst(t *testing.T) {
	_, l := watch(t, fake(t, swallowing), "p:", tracking.Trial(trial))
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	private(t, l.reasons[0])
	if l.vouches > 0 || l.missed > 0 {
		t.Errorf("notified of %q", l.log)
	}
}

// A canary that a failover leads elsewhere doesn't make a server deaf.
func TestWatchCanaryThatWentElsewhere(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	sentinel := fakeSentinel(t, a.Addr)
	var dials atomic.Int64 // the channel's, of the question to the sentinels, the canary's
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{sentinel},
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == a.Addr() && dials.Add(1) > 2 {
				addr = b.Addr()
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:")
	l.standing(t)
	if set := a.Client().InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_set"); set != "" || len(l.reasons) > 0 {
		t.Errorf("the first server got %q, and the listener was notified of %q", set, l.log)
	}
	notifies(t, l, b.Client(), "a")
}

// The canary leaves nothing behind, and listeners aren't notified of any session by it.
func TestWatchCanaryLeavesNothing(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	f.check(f.raw.Set(ctx, "p:last", "1", 0).Err())
	l.changes(t, "last")
	if keys := f.raw.Keys(ctx, "*").Val(); len(keys) != 1 || len(l.sessions()) != 1 {
		t.Errorf("the server holds %q, and the listener was notified of %q", keys, l.sessions())
	}
	if set := f.raw.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_set"); !strings.HasPrefix(set, "calls=2,") {
		t.Errorf("of the canary and one other: %q", set)
	}
}

// A server that takes no writes for now is believed once a canary was received, and not before.
func TestWatchOfAFullServer(t *testing.T) {
	f := start(t)
	full := func(limit string) { f.check(f.raw.ConfigSet(ctx, "maxmemory", limit).Err()) }
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	full("1")
	before := l.count()
	f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
	l.recovers(t, before)

	refused := func() (n int) {
		_, text, _ := strings.Cut(f.raw.InfoMap(ctx, "commandstats").Item("Commandstats", "cmdstat_set"), "rejected_calls=")
		n, _ = strconv.Atoi(text[:strings.Index(text+",", ",")])
		return n
	}
	so := refused()
	_, late := watch(t, f.server.Client(), "p:")
	poll.Until(t, "two attempts", func() bool { return refused() > so+1 })
	late.mu.Lock()
	if late.vouches > 0 || len(late.reasons) > 0 {
		t.Errorf("notified of %q", late.log)
	}
	late.mu.Unlock()
	full("0")
	late.standing(t)
}

// A server that is full isn't believed if the user may not receive messages.
func TestWatchOfAFullServerTakesTheRightToMessages(t *testing.T) {
	f := start(t)
	full := func(limit string) { f.check(f.raw.ConfigSet(ctx, "maxmemory", limit).Err()) }
	f.check(f.raw.Do(ctx, "acl", "setuser", "app", "on", ">pw", "~p:*", "+get", "+set", "+del", "+hello", "+ping", "+client|tracking").Err())
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), Username: "app", Password: "pw"})
	t.Cleanup(func() { _ = client.Close() })
	w, l := watch(t, client, "p:", tracking.ProofLife(200*time.Millisecond), tracking.Trial(trial))
	l.standing(t)
	before := l.count()
	full("1")
	l.revoked(t)
	poll.Until(t, "the reason NOPERM", func() bool { return strings.Contains(w.InvalidationErr().Error(), "NOPERM") })
	private(t, w.InvalidationErr())
	if l.count() > before {
		t.Error("a full server is believed")
	}
	full("0")
	l.recovers(t, before)
	f.check(f.raw.Do(ctx, "acl", "setuser", "app", "+publish", "+subscribe", "+unsubscribe", "&p:*").Err())
	full("1")
	before = l.count()
	f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
	l.recovers(t, before)
}

// A server that can't save refuses pings too, and still says what changes.
func TestWatchOfAServerThatCannotSave(t *testing.T) {
	const lease = time.Minute
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:", tracking.Lease(lease))
	l.standing(t)
	before := l.count()
	f.check(f.raw.Set(ctx, "p:a", "1", time.Second).Err())
	l.changes(t, "a")
	l.forget()
	f.server.FailSaves(t)
	if err := f.raw.Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "MISCONF") {
		t.Fatalf("a ping gets %v", err)
	}
	refused := time.Now()
	l.changes(t, "a") // it expires
	l.await(t, "a vouch of a ping that was refused", func() bool { return l.until.After(refused.Add(lease)) })
	if missed := l.count() - before; missed > 0 {
		t.Errorf("the watch was lost %d times", missed)
	}
	f.check(f.raw.Do(ctx, "client", "kill", "type", "pubsub").Err())
	f.check(f.raw.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err())
	l.recovers(t, before)
}

// A user that mustn't write under the prefix can't be distinguished from a deaf server.
func TestWatchOfAUserWhoMustNotWrite(t *testing.T) {
	server := redistest.Start(t)
	if err := server.Client().Do(ctx, "acl", "setuser", "default", "resetkeys", "~q:*").Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	_, l := watch(t, client, "p:")
	l.await(t, "unsupported", func() bool { return len(l.reasons) > 0 })
	private(t, l.reasons[0])
	_, l = watch(t, client, "q:")
	l.standing(t)
}

func TestSlots(t *testing.T) {
	client := redistest.Start(t, "--cluster-enabled", "yes").Client()
	for _, key := range []string{"123456789", "", "a", "{a}b", "a{b}c", "{}a", "a{", "a{b", "{a}{b}", "a{}{b}", "}a{b}"} {
		if want := client.ClusterKeySlot(ctx, key).Val(); int64(tracking.SlotOf(key)) != want {
			t.Errorf("%q is in slot %d, not %d", key, want, tracking.SlotOf(key))
		}
	}
}
