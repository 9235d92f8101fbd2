package local

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// watch is what the sources say of the store. Where there is one, an entry is served
// only while all vouch for what is cached, and MaxStale bounds what the store tells no
// expiry of; where one can't, or there is none, MaxStale bounds all.
//
// The tier's clock stands still while a machine is suspended, as every monotonic one of Go
// on Linux does, so that the rest of a lease may be served when it goes on.
//
// watched, until and last are atomics, the latter two being moments on the tier's clock;
// mu guards the other fields.
type watch struct {
	watched atomic.Bool
	until   atomic.Int64 // served before this
	last    atomic.Int64 // the end of the last time that all vouched

	mu      sync.Mutex
	sources []*watchedSource
	check   *time.Timer // of unvouched, from the first source until Close
}

// watchedSource is the listener of one source. watch.mu guards all fields but s and source.
type watchedSource struct {
	s           *Storage
	source      tiers.Source
	until       int64
	unsupported bool
	lost        bool // it has vouched, and not again since that ended
}

var _ tiers.Listener = (*watchedSource)(nil)

// listen has a source tell. Nothing is served from memory until it has.
func (s *Storage) listen(source tiers.Source) (stop func()) {
	l := &watchedSource{s: s, source: source}
	w := &s.watch
	w.mu.Lock()
	w.sources = append(w.sources, l)
	w.settle(s.now())
	if w.check == nil {
		w.check = time.AfterFunc(silence, s.unvouched)
	}
	w.mu.Unlock()
	return source.Watch(l)
}

// settle is called under mu when something has changed.
func (w *watch) settle(now int64) {
	if before := w.until.Load(); before != never {
		w.last.Store(max(w.last.Load(), min(before, now)))
	}
	watched, until := len(w.sources) > 0, int64(never)
	for _, l := range w.sources {
		watched = watched && !l.unsupported
		until = min(until, l.until)
	}
	w.until.Store(until)
	w.watched.Store(watched)
}

// state answers how many sources there are, and whether all of them can announce.
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

// Changed outdates the session, unless this tier is waiting for word of its own write
// of it; see echoes.
func (l *watchedSource) Changed(id string) { l.s.changed(l.s.guard.Hash(id), id) }

// Missed outdates everything. Of a source that vouches it announces that all sessions
// were removed; of one that has never vouched it says nothing new.
func (l *watchedSource) Missed() {
	l.s.watch.mu.Lock()
	switch {
	case l.lost:
		l.s.tally.Add(telemetry.InvalidatedByLoss)
	case l.until != 0:
		l.s.tally.Add(telemetry.InvalidatedByAnnouncement)
	}
	l.s.watch.mu.Unlock()
	l.s.guard.BumpAll()
}

// Vouched says until when what is kept may be served.
func (l *watchedSource) Vouched(until time.Time) {
	l.s.watch.mu.Lock()
	defer l.s.watch.mu.Unlock()
	ends := until.IsZero() && l.until != 0
	if ends {
		l.s.tally.Add(telemetry.WatchLosses)
	}
	l.lost = ends || l.lost && until.IsZero()
	l.unsupported, l.until = false, 0
	if !until.IsZero() {
		l.until = l.s.moment(until)
	}
	l.s.watch.settle(l.s.now())
}

// Unsupported leaves the tier to MaxStale. What was kept while the source vouched isn't
// bounded by that, so that it goes.
func (l *watchedSource) Unsupported(reason error) {
	l.s.reporter.Warn(context.Background(), "unsupported",
		"strata: changes of the store aren't announced, so that MaxStale bounds what is served from memory",
		slog.Duration("max_stale", l.s.limits.Load().maxStale), slog.String("reason", tiers.Explain(reason)))
	l.s.watch.mu.Lock()
	if l.lost || l.until != 0 {
		l.s.tally.Add(telemetry.InvalidatedByLoss)
	}
	l.unsupported = true
	l.s.watch.settle(l.s.now())
	l.s.watch.mu.Unlock()
	l.s.guard.BumpAll()
}

// silence is how long nobody has vouched before that is told.
const silence = 10 * time.Second

// stood is until when all have vouched, or did the last time.
func (w *watch) stood() int64 { return max(w.until.Load(), w.last.Load()) }

// unvouched is called now and then, as nobody may be reading.
func (s *Storage) unvouched() {
	w := &s.watch
	w.mu.Lock()
	if w.check != nil {
		w.check.Reset(silence / 4)
	}
	sources := slices.Clone(w.sources)
	w.mu.Unlock()
	since := time.Duration(s.now() - w.stood())
	if !w.watched.Load() || since < silence {
		return
	}
	reason := "unknown"
	for _, l := range sources {
		if source, ok := l.source.(tiers.WatchErrer); ok {
			if err := source.WatchErr(); err != nil {
				reason = tiers.Explain(err)
			}
		}
	}
	s.reporter.Warn(context.Background(), "unvouched",
		"strata: changes of the store aren't announced at present, so that nothing is served from memory; see whether the channel of announcements can connect and log in",
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

// stale answers what memory holds of a session that the store doesn't answer for, as
// long as nobody has told that it changed and the bound of ServeStale allows.
func (s *Storage) stale(hash uint64, id string) (*tiers.Snapshot, bool) {
	if s.limits.Load().serveStale == 0 {
		return nil, false
	}
	vouched := s.watch.stood() // before the view, as in it
	e, v := s.look(hash)
	if e == nil || e.snapshot == nil || e.id != id || e.stamp != v.stamp || !e.echo.trusted(v.now) {
		return nil, false
	}
	if at, known := e.snapshot.Expires(); known && !at.IsZero() && v.now >= s.moment(at) {
		return nil, false
	}
	end := e.until
	if e.watched {
		end = vouched
	}
	return e.snapshot, v.now-int64(s.limits.Load().serveStale) < end
}
