package tracking

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers"
)

// maxMoves bounds the search for a connection to the server that is watched.
const maxMoves = 4

// Tracker follows the changes of the keys under a prefix while there are listeners, and
// sends a storage's commands over connections that lead to the server which sends the
// invalidations. The connections for these are made for the first listener, and closed with the last.
//
// client, settings and reloader are set at construction and guard themselves, paths is atomic; mu guards the rest.
type Tracker struct {
	client redis.UniversalClient
	settings
	paths    atomic.Pointer[paths] // the last watcher's that has any
	reloader *reloader             // nil without a cluster

	mu        sync.Mutex
	watcher   *watcher   // while there are listeners
	ending    []*watcher // whose listeners have left; those that have ended go when another one comes
	listeners int
	closed    bool
}

// settings are a watcher's.
type settings struct {
	prefix    string
	lease     time.Duration
	pace      time.Duration // of the questions to a server
	retry     time.Duration // how soon an unsupported server is asked again
	proofLife time.Duration // how long a canary proves
	trial     time.Duration // how long a server that takes the password is tried before it is unsupported
}

// New returns a Tracker of the keys under prefix, all keys if it is empty.
func New(client redis.UniversalClient, prefix string, lease time.Duration) *Tracker {
	t := &Tracker{
		client:   client,
		reloader: newReloader(client),
		settings: settings{prefix: prefix, lease: lease, pace: lease / 4, retry: unsupportedRetry, proofLife: proofLife, trial: trialTime},
	}
	t.paths.Store(newPaths(client))
	return t
}

// Subscribe notifies the listener of everything that happens from now on, until stop is called or
// the Tracker is closed. A listener that comes while invalidations arrive is notified of that
// at once.
// After stop has returned the listener isn't called again; calls that are under way are
// waited for.
func (t *Tracker) Subscribe(l tiers.InvalidationListener) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return func() {}
	}
	if t.watcher == nil {
		t.watcher = startWatcher(t.client, t.settings)
		if t.watcher.paths != nil {
			t.paths.Store(t.watcher.paths)
		}
	}
	w := t.watcher
	leave := w.subscribe(l)
	t.listeners++
	return sync.OnceFunc(func() {
		leave()
		if !t.left(w) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
		defer cancel()
		_ = w.close(ctx)
	})
}

// left counts off a listener of the watcher, and reports whether it was the last one.
func (t *Tracker) left(w *watcher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listeners--; t.listeners > 0 || t.watcher != w {
		return false
	}
	t.watcher = nil
	t.ending = append(slices.DeleteFunc(t.ending, (*watcher).ended), w)
	return true
}

// InvalidationErr is why no invalidations arrive at present: what went wrong last; nil while they
// do, and before anything has.
func (t *Tracker) InvalidationErr() error {
	t.mu.Lock()
	w := t.watcher
	t.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.err()
}

// Close ends the watch for good: the listeners are notified that nothing is vouched for any more,
// and aren't called again once Close has returned nil. It waits until the Tracker's
// goroutines have ended, or ctx; an error says that they haven't yet.
func (t *Tracker) Close(ctx context.Context) error {
	t.mu.Lock()
	if t.watcher != nil {
		t.ending = append(t.ending, t.watcher)
	}
	t.watcher, t.closed = nil, true
	ending := slices.Clone(t.ending)
	t.mu.Unlock()
	errs := []error{t.reloader.close(ctx)}
	for _, w := range ending {
		errs = append(errs, w.close(ctx))
	}
	return errors.Join(errs...)
}

// Send sends the commands together, while invalidations arrive to the server that sends them. Not
// each command has a reply or an error afterwards.
func (t *Tracker) Send(ctx context.Context, commands ...redis.Cmder) error {
	return t.through(func(now *path) error {
		err := now.send(ctx, commands)
		if errors.Is(err, errUnproven) {
			for _, c := range commands {
				c.SetErr(nil)
			}
		}
		return err
	})
}

// Transact has a server of several run the commands, which are of one slot, in one step.
func (t *Tracker) Transact(ctx context.Context, commands []redis.Cmder) error {
	return t.reloader.during(func() error {
		return Together(ctx, t.client.TxPipeline(), commands...)
	})
}

// Watch has fn use one connection to the server that has the key. The client's hooks aren't called while invalidations
// arrive from a server that is alone. A redirection is followed once, to a server that the client knows by then.
func (t *Tracker) Watch(ctx context.Context, key string, fn func(*redis.Tx) error) error {
	return t.through(func(now *path) error { return now.watch(ctx, key, fn) })
}

// through has what is sent begin again if the present path turned out to lead elsewhere, as then nothing
// has been sent.
func (t *Tracker) through(send func(*path) error) error {
	for tries := 1; ; tries++ {
		err := t.reloader.during(func() error { return t.paths.Load().on(send) })
		if !errors.Is(err, errUnproven) || tries == maxMoves {
			return err
		}
	}
}
