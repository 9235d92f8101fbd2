package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// liveness bounds the waits for what must happen.
const liveness = 15 * time.Second

// witness is a listener that writes down what it is told. mu guards its fields, and
// changed is closed and replaced at each call; one more call at a time than one is
// counted in overlaps.
type witness struct {
	busy  sync.Mutex
	stall chan struct{} // closed, or a Changed waits; set before use

	mu       sync.Mutex
	news     chan struct{}
	ids      map[string]int
	missed   int
	vouches  int
	until    time.Time
	log      []string
	reasons  []error
	overlaps int
}

func newWitness() *witness {
	return &witness{news: make(chan struct{}), ids: map[string]int{}}
}

func (w *witness) told(what string, note func()) {
	free := w.busy.TryLock()
	w.mu.Lock()
	if !free {
		w.overlaps++
	}
	note()
	if len(w.log) == 0 || w.log[len(w.log)-1] != what {
		w.log = append(w.log, what)
	}
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	if free {
		w.busy.Unlock()
	}
}

func (w *witness) Changed(id string) {
	w.told("changed", func() { w.ids[id]++ })
	if w.stall != nil {
		<-w.stall
	}
}
func (w *witness) Missed() { w.told("missed", func() { w.missed++ }) }
func (w *witness) Vouched(until time.Time) {
	what := "vouched"
	if until.IsZero() {
		what = "revoked"
	}
	w.told(what, func() { w.until, w.vouches = until, w.vouches+1 })
}
func (w *witness) Unsupported(reason error) {
	w.told("unsupported", func() { w.reasons = append(w.reasons, reason) })
}

// await waits until the condition holds of what the witness was told.
func (w *witness) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(liveness)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		met, news := condition(), w.news
		w.mu.Unlock()
		if met {
			return
		}
		select {
		case <-news:
		case <-time.After(10 * time.Millisecond): // the clock may be what is waited for
		case <-deadline.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("waited in vain for: %s; told %q, missed %d", what, w.log[max(0, len(w.log)-30):], w.missed)
		}
	}
}

func (w *witness) standing(t testing.TB) {
	t.Helper()
	w.await(t, "vouched", func() bool { return time.Now().Before(w.until) })
}

func (w *witness) changes(t testing.TB, id string) {
	t.Helper()
	w.await(t, "a change", func() bool { return w.ids[id] > 0 })
}

// count answers how often all was missed so far.
func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missed
}

// recovers waits for what follows a loss: after the given number of Missed one more,
// and a vouch that is in force.
func (w *witness) recovers(t testing.TB, missed int) {
	t.Helper()
	w.await(t, "missed and vouched again", func() bool { return w.missed > missed && time.Now().Before(w.until) })
}

// revoked waits until the watcher has noticed a loss.
func (w *witness) revoked(t testing.TB) {
	t.Helper()
	w.await(t, "the end of vouching", func() bool { return w.until.IsZero() && w.vouches > 0 })
}

// forget begins a new account of changes.
func (w *witness) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.ids)
}

// watch is a watcher with one listener, closed when the test ends.
func watch(t testing.TB, client redis.UniversalClient, prefix string, opts ...redisstore.WatchOption) (*redisstore.Watcher, *witness) {
	t.Helper()
	w := redisstore.Watch(client, prefix, opts...)
	t.Cleanup(func() {
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	l := newWitness()
	w.Watch(l)
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.overlaps > 0 {
			t.Errorf("%d calls came while another was under way", l.overlaps)
		}
	})
	return w, l
}

func TestWatchAnnouncesWhatOthersDo(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	l.standing(t)
	other := f.server.Client()
	for name, change := range map[string]func() error{
		"set":     func() error { return other.Set(ctx, "p:set", "1", 0).Err() },
		"del":     func() error { return other.Del(ctx, "p:del").Err() },
		"pexpire": func() error { return other.PExpire(ctx, "p:pexpire", time.Minute).Err() },
		"expiry":  func() error { return other.PExpire(ctx, "p:expiry", 50*time.Millisecond).Err() },
		"rename":  func() error { return other.Rename(ctx, "p:rename", "p:renamed").Err() },
		"away":    func() error { return other.Rename(ctx, "p:away", "q:away").Err() },
		"script": func() error {
			return other.Eval(ctx, "return redis.call('set',KEYS[1],'2')", []string{"p:script"}).Err()
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
	for _, flush := range []func() error{other.FlushAll(ctx).Err, other.FlushDB(ctx).Err} {
		before := l.count()
		f.check(flush())
		f.check(other.FlushDB(ctx).Err())
		l.await(t, "a flush", func() bool { return l.missed > before })
	}
}

func TestWatchKeepsToThePrefix(t *testing.T) {
	f := start(t)
	_, l := watch(t, f.server.Client(), "p:")
	_, all := watch(t, f.server.Client(), "")
	l.standing(t)
	all.standing(t)
	for _, key := range []string{"x", "p", "pp:x", "P:x", "p:", "p:last"} {
		f.check(f.raw.Set(ctx, key, "1", 0).Err())
	}
	l.changes(t, "last")
	all.changes(t, "p:last")
	if len(l.ids) != 1 || len(all.ids) != 6 {
		t.Errorf("told of %q of the prefix, and of %q of all keys", l.ids, all.ids)
	}
}

// A listener hears Missed before anybody vouches, a late one at once, and one that
// has stopped nothing.
func TestWatchListeners(t *testing.T) {
	f := start(t)
	w, first := watch(t, f.server.Client(), "p:", redisstore.Lease(time.Minute))
	first.standing(t)
	late := newWitness()
	stop := w.Watch(late)
	if got := fmt.Sprint(late.log); got != "[missed vouched]" || late.until.IsZero() {
		t.Fatalf("a late listener was told %s", got)
	}
	if got := fmt.Sprint(first.log); got != "[missed vouched]" {
		t.Fatalf("the first listener was told %s", got)
	}
	stop()
	stop()
	told := len(late.log)
	f.check(f.raw.Set(ctx, "p:a", "1", 0).Err())
	first.changes(t, "a")
	if len(late.log) != told || len(late.ids) > 0 {
		t.Error("a listener that has stopped is told more")
	}
	f.check(w.Close(ctx))
	if !first.until.IsZero() {
		t.Error("a closed watcher vouches")
	}
	w.Watch(late)
	if len(late.log) != told {
		t.Error("a closed watcher tells")
	}
	f.check(w.Close(ctx))
}

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
			_, l := watch(t, client, "p:", redisstore.Lease(200*time.Millisecond))
			for range 2 {
				l.standing(t)
				before := l.count()
				loss.do(f, proxy)
				if loss.undo != nil {
					l.revoked(t)
					if loss.meanwhile {
						f.check(f.raw.Set(ctx, "p:meanwhile", "1", 0).Err())
					}
					if l.count() != before {
						t.Error("Missed came before the channel stood again")
					}
					loss.undo(f, proxy)
				}
				l.recovers(t, before)
				l.forget()
				f.check(f.raw.Set(ctx, "p:after", "1", 0).Err())
				l.changes(t, "after")
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

// A reader that hangs is lost to the server, whose buffer runs over, and then told.
func TestWatchOverrun(t *testing.T) {
	f := start(t)
	f.check(f.raw.ConfigSet(ctx, "client-output-buffer-limit", "normal 65536 0 0").Err())
	w := redisstore.Watch(f.server.Client(), "p:", redisstore.Lease(time.Minute))
	l := newWitness()
	l.stall = make(chan struct{})
	t.Cleanup(func() { f.check(w.Close(ctx)) })
	w.Watch(l)
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

func TestWatchCloseLeaksNothing(t *testing.T) {
	f := start(t)
	proxy := redistest.StartProxy(t, f.server.Addr())
	standing := goleak.IgnoreCurrent()
	for _, state := range []string{"connecting", "vouching", "stalled", "lost"} {
		client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
		w := redisstore.Watch(client, "p:")
		l := newWitness()
		w.Watch(l)
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
		for end := time.Now().Add(liveness); proxy.Conns() > 0; {
			if time.Now().After(end) {
				t.Fatalf("%s: %d connections are left", state, proxy.Conns())
			}
			goleakPause()
		}
		if err := goleak.Find(standing); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
	}
}

// goleakPause lets the proxy see that a connection was closed.
func goleakPause() { <-time.After(5 * time.Millisecond) }

func TestWatchRefusesNonsense(t *testing.T) {
	f := start(t)
	var none *redis.Client
	for name, call := range map[string]func(){
		"nil client":   func() { redisstore.Watch(nil, "") },
		"nil pointer":  func() { redisstore.Watch(none, "") },
		"nil option":   func() { redisstore.Watch(f.raw, "", nil) },
		"short lease":  func() { redisstore.Lease(49 * time.Millisecond) },
		"long lease":   func() { redisstore.Lease(time.Minute + 1) },
		"short lease2": func() { redisstore.WatchLease(0) },
	} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "strata: ") {
					t.Errorf("%s: panicked with %q", name, text)
				}
			}()
			call()
		}()
	}
	w := redisstore.Watch(f.raw, "")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Close(ended); err != nil {
		private(t, err)
	}
	f.check(w.Close(ctx))
}
