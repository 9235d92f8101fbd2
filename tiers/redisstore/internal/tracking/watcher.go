// Package tracking follows what changes in Redis by CLIENT TRACKING, or by keyspace notifications where a server
// lacks that, on one server, behind sentinels and in a cluster, and proves that a storage's commands go to the server which
// sends the invalidations.
//
// Its parts, and what runs in each:
//
//	Tracker       as long as the storage; nothing runs without listeners
//	watcher       while there are listeners: run begins watch sessions, with pauses between
//	watchSession  until the first loss: run and ping of a connection to each master, and follow
//	  connecting    until each connection has its first pong
//	  asking        follow asks who the masters are, and writes canaries
//	  standing      vouches: each pong and each view of the masters extends that
//	  in doubt      the masters don't agree: nothing is valid until they do
//	  over          life has ended, by the first of the goroutines that returned
//
// The watcher chooses between CLIENT TRACKING and keyspace notifications, one for each watch session. They differ in how
// a connection greets the server, and in the tripwire. One that takes notifications ends once the other would stand.
//
// Lock order: Tracker.mu, watcher.mu (which also guards the watch sessions), paths.mu. Listeners
// are called under watcher.mu, so they mustn't call the Tracker. connection.mu is held for nothing but its own fields.
package tracking

import (
	"context"
	"errors"
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

	// unsupportedRetry is how often a server that has never notified is asked again, and one that sends keyspace
	// notifications for CLIENT TRACKING.
	unsupportedRetry = time.Minute

	// Time-outs of the watcher's own connections.
	dialTimeout, ioTimeout, poolTimeout = 2 * time.Second, 3 * time.Second, 4 * time.Second
)

// watcher notifies listeners of the changes of the keys under a prefix.
//
// settings, client, thorough, topology, paths and cancel are set at construction, done is closed when run has ended, received belongs
// to follow; mu guards the rest, the watch session's
// state included, and is held while listeners are called, so that they are called one at a
// time.
type watcher struct {
	settings
	client   redis.UniversalClient
	thorough bool // there are as many canaries at first as for notifications
	topology topology
	paths    *paths // its own, nil where commands keep to the client
	cancel   context.CancelFunc
	done     chan struct{}
	received bool // a canary, ever

	mu          sync.Mutex
	listeners   []*tiers.InvalidationListener
	vouched     time.Time // zero while nothing is valid
	unsupported error
	reason      error // why the last watch session ended
}

// startWatcher begins to watch, and returns at once.
func startWatcher(client redis.UniversalClient, s settings) *watcher {
	w := &watcher{settings: s, client: client, done: make(chan struct{})}
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

func (w *watcher) subscribe(l tiers.InvalidationListener) (stop func()) {
	own := &l
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, own)
	switch {
	case w.unsupported != nil:
		l.Unsupported(w.unsupported)
	case !w.vouched.IsZero():
		l.InvalidateAll()
		l.ValidUntil(w.vouched)
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
	w.listeners = nil
	return nil
}

// run begins a new watch session whenever one has ended, until the watcher is closed.
func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	if w.paths != nil {
		defer func() { w.paths.use(userPath(w.paths.user)) }() // to the user's client
	}
	var (
		longest = firstPause
		since   time.Time // watch sessions end after the password was taken, and before they stand
		once    bool      // one has stood: what the server refuses now, it may allow again at any time
		refusal error     // of CLIENT TRACKING

		notifications bool // the next watch session takes keyspace notifications in its place
	)
	for {
		began := time.Now()
		r, err := w.runSession(ctx, notifications)
		if ctx.Err() != nil {
			return
		}
		reached, stood := r.reached, time.Duration(0)
		if !r.stands.IsZero() {
			stood = time.Since(r.stands)
		}
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
		lacks := tried || unsupported(err) != nil || notifications && errors.Is(err, errDeaf)
		switch {
		case errors.Is(err, errOutgrown):
			notifications = false
			w.failed(err)
		case lacks && !notifications:
			notifications, refusal, since, wait = true, err, time.Time{}, firstPause
			longest = max(longest/2, firstPause) // both ways are one attempt
		case lacks && (!once || shown(refusal) && shown(err)): // the server has neither
			notifications = false
			if !says(err, full) {
				err = refusal
			}
			if w.lacks(err) && !once {
				wait = w.retry - rand.N(w.retry/4)
			}
		default: // a fault that passes, even if that takes time
			notifications = notifications && !lacks
			w.failed(err)
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// shown reports whether a watch session ended with what a server shows that doesn't notify.
func shown(err error) bool { return unsupported(err) != nil || errors.Is(err, errDeaf) }

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

// tracks reports whether CLIENT TRACKING works: a watch session that notifies nobody stands, and lasts.
func (w *watcher) tracks(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, w.trial)
	defer cancel()
	trial := &watcher{settings: w.settings, thorough: w.paths != nil}
	trial.topology, _ = topologyOf(w.client)
	r, _ := trial.runSession(ctx, false)
	return !r.stands.IsZero() && ctx.Err() != nil
}

// failed takes note of why a watch session has ended.
func (w *watcher) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reason = err
}

// lacks makes the store unsupported, notifies the listeners of that if it wasn't, and reports whether the
// server itself said so.
func (w *watcher) lacks(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.unsupported == nil
	w.reason, w.unsupported = err, reason(err)
	for _, l := range w.listeners {
		if first {
			(*l).Unsupported(w.unsupported)
		}
	}
	return unsupported(err) != nil
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
