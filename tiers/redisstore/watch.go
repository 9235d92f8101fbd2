package redisstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

const (
	// DefaultLease is how long a Watcher vouches on from a sign of life of the server.
	DefaultLease = 500 * time.Millisecond

	leastLease, mostLease = 50 * time.Millisecond, time.Minute

	// After a loss the pauses between attempts double, from firstPause to lastPause, and to
	// awayPause where nothing takes the connection.
	firstPause, lastPause, awayPause = 10 * time.Millisecond, 12 * time.Second, time.Second

	// trialTime is how long a server that takes the password is tried before it counts as one
	// that can't announce changes.
	trialTime = 3 * time.Second

	// rarely is how often a server that can't announce changes is asked again.
	rarely = time.Minute
)

// Watcher announces the changes of the keys under a prefix, whoever makes them. It is
// a tiers.InvalidationSource. Make it with Watch, and Close it.
//
// prefix, lease, rarely, proof, topology and paths are set at construction, done is closed
// when run has ended, heard belongs to run and its rounds; mu guards the rest, the round's
// state included, and is held while listeners are called, so that they are called one at a
// time.
type Watcher struct {
	prefix   string
	lease    time.Duration
	rarely   time.Duration
	proof    time.Duration // how long a canary proves
	topology topology
	paths    *paths // of a storage; nil where its commands keep to the client
	cancel   context.CancelFunc
	done     chan struct{}
	heard    bool // a canary, ever

	mu          sync.Mutex
	listeners   []*tiers.InvalidationListener
	vouched     time.Time // zero while nobody vouches
	unsupported error
	reason      error // why the last round ended
	closed      bool
}

var _ tiers.InvalidationSource = (*Watcher)(nil)

// WatchOption sets up a Watcher.
type WatchOption func(*Watcher)

// Lease is how long a Watcher vouches on from the last moment of which it knows that
// all changes before it were announced: what a listener serves from memory is never
// older than that while the connection hangs. The server is asked every quarter of it.
// Without the option it is DefaultLease. It panics outside 50 ms to 1 minute.
func Lease(d time.Duration) WatchOption {
	mustLease("Lease", d)
	return func(w *Watcher) { w.lease = d }
}

func mustLease(option string, d time.Duration) {
	if d < leastLease || d > mostLease {
		panic(fmt.Sprintf("strata: redisstore.%s needs 50 ms to 1 minute, not %v; less can't be told from a slow network, and more keeps what is stale for too long", option, d))
	}
}

// Watch begins to watch the keys under prefix, all keys if it is empty, and returns at
// once. It panics on a nil client or option.
//
// The connections are the Watcher's own, one for announcements and one to ask for each
// master, made with the client's options, RESP3 and time-outs of 2 to 3 s. The
// client's hooks aren't called, its OnConnect is.
//
// About every ten seconds, and before it vouches, the Watcher writes a key of its own under
// the prefix, a long random one with an empty value, on a new connection to each master, and
// deletes it at once to hear of it. That finds an address that leads to another server by
// now, and what stands between and keeps announcements to itself, or has connected anew
// without a word: each is noticed within ten seconds and a lease, and at once where a storage
// makes a connection. Sentinels are asked for the master about three times in a lease, each time
// with a connection to it that is closed at once.
//
// Only a [Storage] that watches itself reads over connections which were proven to lead to
// the server that announces. Reads over another store may go to a server that the address
// has left.
//
// A *redis.Client of redis.NewFailoverClient and a *redis.ClusterClient are asked where
// the masters are, so Close the Watcher before the client. Of a cluster every master is
// watched, one without slots too, as a slot may be on its way to it; where that one can't
// be reached, nobody vouches meanwhile. Other clients, redis.Ring for one, and
// ClusterOptions.ClusterSlots, can't be watched: listeners are told Unsupported.
//
// Listeners are told Unsupported as well by a server without RESP3 or CLIENT TRACKING
// (Redis 6), or if it refuses CLIENT TRACKING or CLUSTER NODES, to this user or to all, or if
// it takes the password and yet nothing is vouched for within some seconds: it hangs, or
// hangs up, at CLIENT TRACKING, is full, is a replica, or no announcement arrives. A server
// that refused a command is asked again about every minute, another one about every ten seconds.
//
// The server announces keys whatever database they are in, so that another database's
// key of the same name is announced too. What the server does later, such as removing
// what has expired, is announced when it does it. Redis (7.0) doesn't announce SWAPDB:
// don't swap a database that holds sessions.
func Watch(client redis.UniversalClient, prefix string, opts ...WatchOption) *Watcher {
	return watch(client, nil, prefix, opts)
}

// watch is Watch, for a storage whose commands follow.
func watch(client redis.UniversalClient, paths *paths, prefix string, opts []WatchOption) *Watcher {
	if isNil(client) {
		panic("strata: redisstore.Watch needs a client; pass the one that redisstore.New was given")
	}
	w := &Watcher{prefix: prefix, lease: DefaultLease, rarely: rarely, proof: proofLife, done: make(chan struct{})}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of redisstore.Watch is nil; pass what redisstore.Lease returns")
		}
		opt(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	if w.topology, w.unsupported = topologyOf(client); w.unsupported != nil {
		close(w.done)
		return w
	}
	if s, ok := w.topology.(*single); ok && !s.behindSentinels() {
		w.paths = paths
	}
	go w.run(ctx)
	return w
}

// Subscribe tells the listener of everything that happens from now on, until stop is
// called or the Watcher is closed. A listener that comes while the Watcher vouches is
// told so at once. After stop has returned the listener isn't called again; calls that
// are under way are waited for.
func (w *Watcher) Subscribe(l tiers.InvalidationListener) (stop func()) {
	if isNil(l) {
		panic("strata: redisstore: a Watcher needs a listener; pass one to Watch")
	}
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

// Close ends the watch: the listeners hear that nobody vouches any more, and are not
// called again once Close has returned nil. It waits until the Watcher's goroutines
// have ended, or ctx; an error says that they haven't yet. Close again waits again.
func (w *Watcher) Close(ctx context.Context) error {
	w.cancel()
	select {
	case <-w.done:
	case <-ctx.Done():
		return fault(ctx, "Close", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.listeners = true, nil
	return nil
}

// run begins a new round whenever one has ended, until the Watcher is closed.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	if w.paths != nil {
		defer w.paths.end()
	}
	var (
		pause = firstPause
		since time.Time // rounds end after the password was taken, and before they stand
	)
	for {
		began := time.Now()
		r, err := w.round(ctx)
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
		most := lastPause
		switch {
		case stood > w.lease:
			pause = firstPause
		case reached < connected:
			most = awayPause
		case reached == confirmed:
			most = 2 * lastPause // a round of two connections
		}
		pause = min(pause, most)
		wait := pause - rand.N(pause/6)
		pause *= 2
		if w.refused(err, !since.IsZero() && time.Since(since) > trialTime) {
			wait = w.rarely - rand.N(w.rarely/4)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// refused takes note of why a round has ended, tells the listeners the first time that it
// shows that the store can't announce changes, or is taken to, and reports whether the
// server itself said so.
func (w *Watcher) refused(err error, tried bool) bool {
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

// InvalidationErr is why nobody vouches at present: what went wrong last; nil while somebody does,
// and before anything has.
func (w *Watcher) InvalidationErr() error {
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
