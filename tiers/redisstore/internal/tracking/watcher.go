// Package tracking follows what changes in Redis by CLIENT TRACKING, or by keyspace notifications where a server
// lacks that, on one server, behind sentinels and in a cluster, and proves that a storage's commands go to the server which
// sends the invalidations.
//
// Lock order: Tracker.mu, watcher.mu (which also guards the watch sessions), paths.mu. Listeners
// are called under watcher.mu, so they mustn't call the Tracker. connection.mu and probe.mu are
// held for nothing but their own fields.
package tracking

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

const (
	// After a loss the pauses between attempts double, from firstPause to lastPause, and to
	// awayPause where no server takes the connection for now.
	firstPause, lastPause, awayPause = 10 * time.Millisecond, 12 * time.Second, time.Second

	// trialTime is how long a server that takes the password is tried before it counts as one
	// that sends no invalidations.
	trialTime = 3 * time.Second

	// unsupportedRetry is how often a server that has never notified is asked again.
	unsupportedRetry = time.Minute

	// Time-outs of the watcher's own connections.
	dialTimeout, ioTimeout, poolTimeout = 2 * time.Second, 3 * time.Second, 4 * time.Second
)

// watcher notifies listeners of the changes of the keys under a prefix.
//
// settings, topology and paths are set at construction, done is closed
// when run has ended, received and notifications belong to run and its watch sessions; mu guards the rest, the watch session's
// state included, and is held while listeners are called, so that they are called one at a
// time.
type watcher struct {
	settings
	topology topology
	paths    *paths // its own, nil where commands keep to the client
	cancel   context.CancelFunc
	done     chan struct{}
	received bool // a canary, ever

	notifications bool // the watch sessions take keyspace notifications in place of CLIENT TRACKING

	mu          sync.Mutex
	listeners   []*tiers.InvalidationListener
	vouched     time.Time // zero while nothing is valid
	unsupported error
	reason      error // why the last watch session ended
	closed      bool
}

// startWatcher begins to watch, and returns at once.
func startWatcher(client redis.UniversalClient, s settings) *watcher {
	w := &watcher{settings: s, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	if w.topology, w.unsupported = topologyOf(client); w.unsupported != nil {
		close(w.done)
		return w
	}
	if s, ok := w.topology.(*single); ok && !IsBehindSentinels(s.options) {
		w.paths = newPaths(client)
	}
	go w.run(ctx)
	return w
}

// protocol is the version of RESP in which changes are received.
func (w *watcher) protocol() int {
	if w.notifications {
		return 2
	}
	return 3
}

func (w *watcher) subscribe(l tiers.InvalidationListener) (stop func()) {
	own := &l
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.listeners = append(w.listeners, own)
		switch {
		case w.unsupported != nil:
			l.Unsupported(w.unsupported)
		case !w.vouched.IsZero():
			l.InvalidateAll()
			l.ValidUntil(w.vouched)
		}
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		// A new slice, so that nothing keeps what the listener keeps.
		w.listeners = slices.DeleteFunc(slices.Clone(w.listeners), func(other *tiers.InvalidationListener) bool { return other == own })
	}
}

func (w *watcher) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// close ends the watch, as Tracker's Close does.
func (w *watcher) close(ctx context.Context) error {
	w.cancel()
	select {
	case <-w.done:
	case <-ctx.Done():
		if w.ended() {
			break
		}
		return fault.New(ctx, "Close", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.listeners = true, nil
	return nil
}

// run begins a new watch session whenever one has ended, until the watcher is closed.
func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	if w.paths != nil {
		defer w.paths.end()
	}
	var (
		longest = firstPause
		since   time.Time // watch sessions end after the password was taken, and before they stand
		once    bool      // one has stood: what the server refuses now, it may allow again at any time
		refusal error     // of CLIENT TRACKING
	)
	for {
		began := time.Now()
		r, err := w.runSession(ctx)
		if ctx.Err() != nil {
			return
		}
		stood, reached := r.result()
		switch {
		case stood > 0 || reached < greeted || says(err, noData):
			since = time.Time{}
		case since.IsZero():
			since = began
		}
		if once = once || stood > 0; stood > w.lease {
			longest = firstPause
		}
		longest = min(longest, mostPause(reached, err))
		wait := longest - rand.N(longest/6)
		longest *= 2
		tried := !since.IsZero() && time.Since(since) > w.trial
		switch {
		case !w.notifications && (tried || unsupported(err) != nil):
			w.notifications, refusal, since, wait = true, err, time.Time{}, firstPause
			longest = max(longest/2, firstPause) // both ways are one attempt
		case w.notifications && stood == 0:
			w.notifications = false
			if reached >= greeted && !says(err, noData) { // the server has neither
				tried = true
				if !says(err, full) {
					err = refusal
				}
			}
			fallthrough
		default:
			if w.refused(err, tried) && !once {
				wait = w.retry - rand.N(w.retry/4)
			}
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// mostPause is the longest pause after a watch session that has come so far, and why it ended. A server that
// has as many clients as it takes closes a connection before it can be asked anything, as does a proxy whose
// server is away.
func mostPause(reached int, err error) time.Duration {
	switch {
	case says(err, noData), says(err, crowded), reached < greeted && !fault.IsReply(err):
		return awayPause
	case reached == confirmed:
		return 2 * lastPause // a watch session of two connections
	}
	return lastPause
}

// refused takes note of why a watch session has ended, notifies the listeners the first time that
// this makes the store unsupported, or makes it count as that, and reports whether the server
// itself said so.
func (w *watcher) refused(err error, tried bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reason = err
	said := unsupported(err) != nil
	if said || tried {
		first := w.unsupported == nil
		w.unsupported = reason(err)
		for _, l := range w.listeners {
			if first {
				(*l).Unsupported(w.unsupported)
			}
		}
	}
	return said
}

// err is why no invalidations arrive at present.
func (w *watcher) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.unsupported != nil:
		return w.unsupported
	case time.Now().Before(w.vouched):
		return nil
	}
	return reason(w.reason)
}
