package tracking_test

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

func TestWatchNotifiesOfWhatOthersDo(t *testing.T) {
	t.Run("tracking", func(t *testing.T) {
		f := start(t)
		_, l := watch(t, f.server.Client(), "p:", tracking.Lease(time.Minute))
		notifiesOfAll(f, l)
	})
	t.Run("notifications", func(t *testing.T) {
		f := start(t, noTracking...)
		_, l := watch(t, f.server.Client(), "p:")
		notifiesOfAll(f, l)
	})
}

func notifiesOfAll(f *fixture, l *witness) {
	t := f.T
	l.standing(t)
	other := f.server.Client()
	for name, change := range map[string]func() error{
		"set":     func() error { return other.Set(ctx, "p:set", "1", 0).Err() },
		"del":     func() error { return other.Del(ctx, "p:del").Err() },
		"pexpire": func() error { return other.PExpire(ctx, "p:pexpire", time.Minute).Err() },
		"expiry":  func() error { return other.PExpire(ctx, "p:expiry", 500*time.Millisecond).Err() },
		"rename":  func() error { return other.Rename(ctx, "p:rename", "p:renamed").Err() },
		"away":    func() error { return other.Rename(ctx, "p:away", "q:away").Err() },
		"unlink":  func() error { return other.Unlink(ctx, "p:unlink").Err() },
		"move":    func() error { return other.Move(ctx, "p:move", 1).Err() },
		"copy": func() error {
			return cmp.Or(other.Set(ctx, "q:copy", "1", 0).Err(), other.Copy(ctx, "q:copy", "p:copy", 0, true).Err())
		},
		"restore": func() error {
			return cmp.Or(other.Set(ctx, "q:copy", "1", 0).Err(), other.RestoreReplace(ctx, "p:restore", 0, other.Dump(ctx, "q:copy").Val()).Err())
		},
		"eviction": func() error {
			f.check(other.ConfigSet(ctx, "maxmemory-policy", "allkeys-random").Err())
			f.check(other.ConfigSet(ctx, "maxmemory", "1").Err())
			_ = other.Set(ctx, "p:any", "1", 0).Err() // evicts all, and is refused
			return other.ConfigSet(ctx, "maxmemory", "0").Err()
		},
		"script": func() error {
			return other.Eval(ctx, "return redis.call('set',KEYS[1],'2')", []string{"p:script"}).Err()
		},
		"transaction": func() error {
			_, err := other.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.Del(ctx, "p:transaction")
				return pipe.Set(ctx, "p:transaction", "1", 0).Err()
			})
			return err
		},
		"\xff\x00\r\n": func() error { return other.Set(ctx, "p:\xff\x00\r\n", "1", 0).Err() },
	} {
		f.check(other.Set(ctx, "p:"+name, "0", 0).Err())
		l.changes(t, name)
		l.forget()
		f.check(change())
		l.changes(t, name)
		if name == "rename" {
			l.changes(t, "renamed")
		}
		if name == "expiry" {
			l.await(t, "the expiry, beside the PEXPIRE", func() bool { return l.ids[name] > 1 })
		}
	}
	for _, flush := range []func() error{
		func() error { return other.FlushAll(ctx).Err() },
		func() error { return other.FlushDBAsync(ctx).Err() },
	} {
		before := l.count()
		f.check(flush())
		l.await(t, "a flush", func() bool { return l.missed > before })
	}
}

func TestWatchKeepsToThePrefix(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	_, all := watch(t, f.server.Client(), "")
	all.standing(t)
	for _, key := range []string{"x", "p", "pp:x", "P:x", "p:", "p:last"} {
		f.check(f.raw.Set(ctx, key, "1", 0).Err())
	}
	l.changes(t, "last")
	all.changes(t, "p:last")
	if one, six := l.sessions(), all.sessions(); len(one) != 1 || len(six) != 6 {
		t.Errorf("notified of %q of the prefix, and of %q of all keys", one, six)
	}
}

// A listener receives Missed before anything is vouched for, a late one at once, and one that
// has stopped receives nothing.
func TestWatchListeners(t *testing.T) {
	f := start(t)
	w, first := watch(t, f.server.Client(), "p:", tracking.Lease(time.Minute))
	first.standing(t)
	late := newWitness()
	stop := w.Subscribe(late)
	stop()
	stop()
	if got := fmt.Sprint(late.log); got != "[missed vouched]" || time.Until(late.until) < liveness {
		t.Fatalf("a late listener was notified of %s", got)
	}
	notified := len(late.log)
	f.check(f.raw.Set(ctx, "p:a", "1", 0).Err())
	first.changes(t, "a")
	if len(late.log) != notified || len(late.ids) > 0 {
		t.Error("a listener that has stopped is notified of more")
	}
	f.check(w.Close(ctx))
	if got := fmt.Sprint(first.log[:3]); got != "[missed vouched changed]" || first.missed != 1 {
		t.Errorf("the first listener was notified of %s, of %d losses", first.log, first.missed)
	}
	if !first.until.IsZero() {
		t.Error("a closed watcher vouches")
	}
	w.Subscribe(late)
	if len(late.log) != notified {
		t.Error("a closed watcher notifies")
	}
	f.check(w.Close(ctx))
}

func TestWatchCloseLeaksNothing(t *testing.T) {
	f := start(t)
	proxy := redistest.StartProxy(t, f.server.Addr())
	standing := goleak.IgnoreCurrent()
	for _, state := range []string{"connecting", "vouching", "stalled", "lost"} {
		client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
		w := tracking.Start(client, "p:")
		l := newWitness()
		w.Subscribe(l)
		if state != "connecting" {
			l.standing(t)
		}
		switch state {
		case "stalled":
			proxy.Stall()
		case "lost":
			f.server.Stop()
			l.revoked(t)
		}
		closing, cancel := context.WithTimeout(ctx, liveness)
		f.check(w.Close(closing))
		cancel()
		f.check(client.Close())
		l.mu.Lock()
		if !l.until.IsZero() {
			t.Errorf("%s: vouched after Close", state)
		}
		l.mu.Unlock()
		proxy.Resume()
		poll.Until(t, "all connections are closed that were "+state, func() bool { return proxy.Conns() == 0 })
		leaktest.Ended(t, standing)
	}
}
