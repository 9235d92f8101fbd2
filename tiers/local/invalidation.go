package local

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Two kinds of layers below notify the tier: a source notifies of changes in the store (watch), and a layer that
// merges or delays commits notifies of this node's own (commits).

// subscriptions are the layers and sources that the tier listens to. mu guards all fields.
type subscriptions struct {
	mu     sync.Mutex
	known  map[subscription]bool
	stops  []func()
	closed bool
}

// subscription is to a layer, as one of the two kinds.
type subscription struct {
	layer   any
	commits bool
}

// add subscribes once to each layer or source. Those that can't be compared are always
// subscribed to: a second subscription costs reloads, and a missing one costs stale reads.
func (s *subscriptions) add(to subscription, subscribe func() (stop func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if reflect.ValueOf(to.layer).Comparable() {
		if s.known[to] {
			return
		}
		if s.known == nil {
			s.known = map[subscription]bool{}
		}
		s.known[to] = true
	}
	s.stops = append(s.stops, subscribe())
}

func (s *subscriptions) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, stop := range s.stops {
		stop()
	}
	s.stops = nil
}

// commits receives the states that a layer below publishes. If that layer isn't the nearest of its kind, or a
// layer between may change its sessions, commits only invalidates: the state has to be read through the layers
// between.
type commits struct {
	order   *order
	nearest bool
}

var _ tiers.CommitListener = commits{}

func (c commits) hash(id string) uint64 { return c.order.memory.guard.Hash(id) }

func (c commits) Begin(id string) (token uint64) {
	if !c.nearest {
		return 0
	}
	return c.order.begin(c.hash(id), true).after
}

// Done keeps the state unless readers may have seen another one meanwhile.
func (c commits) Done(id string, ttl time.Duration, token uint64, state *tiers.Snapshot) {
	if !c.nearest {
		c.order.invalidate(c.hash(id), telemetry.InvalidatedByWrite)
		return
	}
	var written *entry
	if state != nil {
		written = &entry{id: id, snapshot: state, loaded: c.order.memory.moment(state.Read()), own: c.order.own.of(ttl)}
	}
	c.order.wrote(call{hash: c.hash(id), after: token, write: true}, written)
}

func (c commits) Abandon(id string) {
	if c.nearest {
		c.order.leave(call{hash: c.hash(id), write: true})
	}
}

// Accept keeps the state if it was made of the read that is kept here: then it may be served
// for as long as that could have been.
func (c commits) Accept(id string, _ time.Duration, state *tiers.Snapshot) {
	if c.nearest {
		c.order.preview(c.hash(id), id, state)
	} else {
		c.order.invalidate(c.hash(id), telemetry.InvalidatedByWrite)
	}
}

// watch knows until when the sources vouch for memory. If there are sources, an entry is served
// only while all of them vouch, and MaxStale bounds those of which the store returns no
// expiry; if one is unsupported, or there is none, MaxStale bounds all.
//
// The tier's clock stops while a machine is suspended, as every monotonic one of Go
// on Linux does, so the rest of a lease may be served after that.
//
// watched, until and last are atomics; the latter two are moments on the tier's clock.
// mu guards the fields below it, and the others are set at construction.
type watch struct {
	watched atomic.Bool
	until   atomic.Int64 // served before this
	last    atomic.Int64 // the end of the last time that all vouched

	clock clock
	order *order
	ready chan struct{} // closed by settle when the sources have first vouched

	mu      sync.Mutex
	sources []*listener
	check   *time.Timer // of silence, from the first source until Close
	once    sync.Once   // of ready
}

// listener receives what one source notifies of. watch.mu guards all fields but watch and source.
type listener struct {
	watch       *watch
	source      tiers.InvalidationSource
	until       int64
	unsupported bool
	lost        bool // its promise has ended, and it hasn't vouched again
}

var _ tiers.InvalidationListener = (*listener)(nil)

// listen subscribes to a source. Nothing is served from memory until it vouches.
func (w *watch) listen(source tiers.InvalidationSource) (stop func()) {
	l := &listener{watch: w, source: source}
	w.mu.Lock()
	w.sources = append(w.sources, l)
	w.settle()
	if w.check == nil {
		w.check = time.AfterFunc(silence, w.silent)
	}
	w.mu.Unlock()
	return source.Subscribe(l)
}

// settle is called under mu when something has changed.
func (w *watch) settle() {
	if before := w.until.Load(); before != never {
		w.last.Store(max(w.last.Load(), min(before, w.clock.now())))
	}
	watched, until := len(w.sources) > 0, int64(never)
	for _, l := range w.sources {
		watched = watched && !l.unsupported
		until = min(until, l.until)
	}
	w.until.Store(until)
	w.watched.Store(watched)
	if watched && until > w.clock.now() {
		w.once.Do(func() { close(w.ready) })
	}
}

// await returns when the sources vouch, and reports whether they do.
func (w *watch) await(ctx context.Context) bool {
	if sources, _ := w.state(); sources == 0 {
		return false
	}
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// stood returns until when all sources vouch, or did the last time.
func (w *watch) stood() int64 { return max(w.until.Load(), w.last.Load()) }

// state returns how many sources there are, and whether all of them are supported.
func (w *watch) state() (sources int, supported bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.sources {
		if l.unsupported {
			return len(w.sources), false
		}
	}
	return len(w.sources), true
}

// Invalidate invalidates the session, unless it may be about this node's own write; see ownWrites.
func (l *listener) Invalidate(id string) {
	l.watch.order.notified(l.watch.order.memory.guard.Hash(id), id)
}

// InvalidateAll invalidates everything. A source that vouches calls it if all sessions were
// removed, one that has lost its connection when it is back; before a source has vouched
// nothing was served, so that the call isn't counted.
func (l *listener) InvalidateAll() {
	l.watch.mu.Lock()
	switch {
	case l.lost:
		l.watch.order.tally.Add(telemetry.InvalidatedByLoss)
	case l.until != 0:
		l.watch.order.tally.Add(telemetry.InvalidatedByStore)
	}
	l.watch.mu.Unlock()
	l.watch.order.memory.guard.BumpAll()
}

// ValidUntil sets until when the source vouches for memory.
func (l *listener) ValidUntil(until time.Time) {
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	ends := until.IsZero() && l.until != 0
	if ends {
		l.watch.order.tally.Add(telemetry.WatchLosses)
	}
	l.lost = ends || l.lost && until.IsZero()
	l.unsupported, l.until = false, 0
	if !until.IsZero() {
		l.until = l.watch.clock.moment(until)
	}
	l.watch.settle()
}

// Unsupported leaves the tier to MaxStale, and invalidates the entries that were kept while the
// source vouched, as MaxStale doesn't bound them.
func (l *listener) Unsupported(reason error) {
	l.watch.order.reporter.Warn(context.Background(), "unsupported",
		"strata: the store can't send invalidations, so that MaxStale bounds what is served from memory",
		slog.Duration("max_stale", l.watch.order.memory.limits.Load().MaxStale), slog.String("reason", failure.Explain(reason)))
	l.watch.mu.Lock()
	if l.lost || l.until != 0 {
		l.watch.order.tally.Add(telemetry.InvalidatedByLoss)
	}
	l.unsupported = true
	l.watch.settle()
	l.watch.mu.Unlock()
	l.watch.order.memory.guard.BumpAll()
}

// endings receives what a layer below has ended itself. That holds at once, and whatever anybody vouches for.
type endings struct{ order *order }

var _ tiers.InvalidationListener = endings{}

func (e endings) Invalidate(id string) {
	e.order.invalidate(e.order.memory.guard.Hash(id), telemetry.InvalidatedByWrite)
}

func (e endings) InvalidateAll()     { e.order.memory.guard.BumpAll() }
func (endings) ValidUntil(time.Time) {}
func (endings) Unsupported(error)    {}

// silence is the time without a vouching source after which that is logged.
const silence = 10 * time.Second

// silent is called by a timer, as there may be no reads.
func (w *watch) silent() {
	w.mu.Lock()
	if w.check != nil {
		w.check.Reset(silence / 4)
	}
	sources := slices.Clone(w.sources)
	w.mu.Unlock()
	since := time.Duration(w.clock.now() - w.stood())
	if !w.watched.Load() || since < silence {
		return
	}
	reason := "unknown"
	for _, l := range sources {
		if source, ok := l.source.(tiers.InvalidationErrer); ok {
			if err := source.InvalidationErr(); err != nil {
				reason = failure.Explain(err)
			}
		}
	}
	w.order.reporter.Warn(context.Background(), "unvouched",
		"strata: the store's invalidations don't arrive at present, so that nothing is served from memory; see whether the connection for them can be made and log in",
		slog.Duration("since", since.Round(time.Second)), slog.String("reason", reason))
}

// stop ends the check.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.check != nil {
		w.check.Stop()
		w.check = nil
	}
}
