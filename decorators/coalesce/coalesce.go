// Package coalesce merges the writes of a session that overlap, so that they reach
// the store as few commits.
//
// Each session has a queue. While a commit of it is at the store, the changes that
// come meanwhile merge into one next commit, and each caller waits for the commit
// that holds its own. Commits of different sessions that are due at the same moment
// go to the store together if it takes batches.
//
// Writing behind, a change stays pending in its queue for an interval and its caller
// returns; reads lay what is pending over what the store returns. A commit that fails is
// tried again until the session would have expired. The queues are bounded in number and
// size, and pending changes may be kept in a journal on disk.
//
// Storage receives the calls, and hands a change from one type to the next:
//
//	queues    put it into its session's sessionQueue, as a write or a part of one
//	bounds    have callers wait for room
//	record    keeps what is pending in the journal
//	schedule  has a queue's first write go when it is due, on a worker of the store's node
//	carrier   brings it to the store; then the queues end it, or have it wait again
//	view      is what a read adds of it to the store's state
//	slides    remember expiries
//	reports   go to the log and to OnGiveUp
//
// Locks are taken in this order: the queues' mutex, then those of a node's circuit, of slides,
// reports, the crew and the journal, of which only that of reports takes another one, the
// journal's; and last that of the log. A cache is notified under the queues' mutex, and may take its own, under which it
// doesn't call Follow, nor the function that this has returned.
package coalesce

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage merges the commits of a snapshot storage. A write that has returned nil is in the
// store, or is pending: retried, and reported if it can't be delivered (law 7). The caller's
// cancellation ends its waiting, never the commit. The calls of a direct or opaque storage reach it
// as they are. Safe for concurrent use.
//
// For each node of the store it runs at most four goroutines if the store takes batches, else sixteen
// writing behind and 1,024 in synchronous mode; sixteen more for removals; and one each for reports and
// the journal. Idle ones end after 20 ms, that of reports after 10 s. MaxPending and MaxPendingBytes bound the changes that wait
// (law 9).
//
// All fields are set by New and guard themselves.
type Storage struct {
	tiers.Storage // below
	wrapped       gsession.Storage
	circuits      *circuit.Store
	face          *sessionmap.Maps
	form          tiers.Preview // nil if it isn't known what the store makes of values
	interval      duration      // 0: synchronous
	queues        queues
	carrier       carrier
	reports       reports

	tally    telemetry.Tally
	reporter telemetry.Reporter
}

var (
	_ tiers.Storage      = (*Storage)(nil)
	_ tiers.CommitFeed   = (*Storage)(nil)
	_ tiers.SlideLimiter = (*Storage)(nil)
)

// New merges the writes that reach a storage. It panics if an option is impossible, and with a
// failure.SetupError if the journal can't be opened.
func New(inner gsession.Storage, opts ...Option) *Storage {
	o := optionsOf(opts)
	if o.Journal != "" && o.WriteBehind == 0 {
		panic("strata: layer.Journal keeps what layer.WriteBehind delays; add layer.WriteBehind(interval), or leave the journal out")
	}
	s := &Storage{wrapped: inner, form: tiers.PreviewOf(inner)}
	s.Storage, s.circuits = circuit.Over(inner)
	s.face = sessionmap.New(s)
	s.carrier = carrier{store: s.Storage, batcher: tiers.BatcherOf(s.Storage), reloader: tiers.ReloaderOf(s.Storage), shard: s.circuits.Shard,
		slides: slides{every: o.SlideEvery, tally: &s.tally}, tally: &s.tally}
	s.carrier.ended, s.carrier.end = context.WithCancel(context.Background())
	s.reports = reports{callback: o.OnGiveUp, reporter: &s.reporter, tally: &s.tally, hurry: s.carrier.ended.Done()}
	s.queues.carrier, s.queues.reports = &s.carrier, &s.reports
	s.queues.init(s.circuits, o)
	s.limit(o)
	if o.Journal != "" {
		if !tiers.IsAtomic(sessionmap.Adapt(inner)) {
			panic(unfit)
		}
		if err := s.queues.restore(o.Journal); err != nil {
			panic(&failure.SetupError{Cause: err})
		}
	}
	s.reporter.Start(s)
	return s
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.wrapped }

// Circuits returns the circuits between this layer and the store.
func (s *Storage) Circuits() *circuit.Store { return s.circuits }

// merges reports whether the storage below keeps snapshots. The calls of others are passed on.
func (s *Storage) merges(ctx context.Context) bool { return s.Style(ctx) == tiers.StyleSnapshot }

// Follow notifies a cache above of the sessions' states after writes.
func (s *Storage) Follow(c tiers.CommitListener) (stop func()) { return s.queues.follow(c) }

// Commit returns when the store holds the change, alone or merged with others, or
// when ctx ends; the change goes on to the store then, also if ctx had ended before:
// GoFrame closes the session of a client that went away under such a context. Writing
// behind, it returns when the change is accepted, and in the journal if there is one.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if delta.Empty() {
		return s.unchanged(ctx, id, delta, ttl)
	}
	// A value that panics or fails when it is encoded does so before it is merged with the changes
	// of others. If it isn't known what the store makes of it, it goes alone, and its caller waits. Only the
	// store knows what a ttl of 0 or less means.
	delta, err := delta.Previewed(s.form)
	if err != nil {
		return nil, err
	}
	c := change{id: id, delta: delta, ttl: ttl}
	c.pending = s.interval.get() > 0 && ttl > 0 && !delta.Urgent() && delta.CanPreview()
	if !delta.Creates() { // a session that begins goes without delay, so that other nodes see a log-in as soon as they can
		c.delay = s.interval.get()
		e, known := s.carrier.slides.get(id)
		if base := delta.Base(); !known && base != nil {
			e.at, known = base.Expires()
		}
		if left := time.Until(e.at); left > 0 || !known { // it mustn't expire in the store meanwhile
			c.delay = min(c.delay, max(left/2, 1))
		}
	}
	return s.put(ctx, c)
}

func (s *Storage) put(ctx context.Context, c change) (*tiers.Snapshot, error) {
	w, shown, synced, err := s.queues.add(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case w == nil: // the chain is being closed
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.carrier.timeout.get())
		defer cancel()
		return perform(ctx, s.Storage, c, s.carrier.slides.longer(c.ttl))
	case !w.pending:
		return w.wait(ctx, s.carrier.timeout.get())
	case synced == nil:
		return shown, nil
	}
	limited, cancel := diskLimit(ctx, s.carrier.timeout.get())
	defer cancel()
	switch err, _ := synced.Wait(limited); {
	case err == nil:
		return shown, nil
	case ctx.Err() != nil:
		return nil, failure.UnderWay(ctx.Err())
	default:
		s.reports.warn("journal", "strata: the journal failed, so that requests wait for the store",
			slog.String("error", failure.Explain(err)))
		return s.queues.join(ctx, w)
	}
}

// shortLife is the ttl below which GoFrame's stores, which slide every ten seconds,
// could let a session expire that is in use.
const shortLife = 20 * time.Second

// unchanged is the close of a request that changed nothing: a slide, if that keeps
// the session alive as surely as writing it again does.
func (s *Storage) unchanged(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	_, known := delta.Base().Expires()
	holds := s.queues.extend(id, ttl) // but the store may not take changes before the session expires
	if (ttl >= shortLife || known) && !s.queues.emptied(id) {
		until, asked, err := s.carrier.slide(ctx, id, ttl)
		// Otherwise the session is gone, or a layer below doesn't know, or the store can only write.
		if !holds && !(err == nil && asked && known && until.IsZero()) && !errors.Is(err, gsession.ErrorDisabled) {
			return nil, err
		}
	}
	if holds {
		return nil, nil
	}
	return s.put(ctx, change{id: id, delta: delta, ttl: ttl})
}

// rereads is how often a read is repeated because a change was committed meanwhile.
const rereads = 3

// Load lays what is pending over what the store returns.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	for tries := 0; ; tries++ {
		read, ok, err := s.load(ctx, id, ttl)
		if ok || err != nil || tries == rereads {
			return read, err
		}
	}
}

// load isn't ok if something was committed while the store was asked.
func (s *Storage) load(ctx context.Context, id string, ttl time.Duration) (read tiers.Read, ok bool, err error) {
	v, err := s.queues.before(ctx, id)
	defer v.leave()
	if err != nil {
		return tiers.Read{}, false, err
	}
	began, clock := time.Now(), s.carrier.slides.clock()
	if read, err = s.Storage.Load(ctx, id, ttl); err != nil {
		return tiers.Read{}, false, err
	}
	read, ok = s.under(v, read, ttl, began, clock)
	return read, ok, nil
}

// under lays a view over what the store has returned.
func (s *Storage) under(v *view, read tiers.Read, ttl time.Duration, began time.Time, clock uint64) (_ tiers.Read, ok bool) {
	if s.interval.get() > 0 && read.Snapshot != nil && read.Snapshot.Read().IsZero() {
		read.Snapshot = read.Snapshot.ReadAt(began)
	}
	if v.queue == nil {
		s.carrier.slides.learn(v.id, read.Snapshot, clock)
		return read, true
	}
	state, ok := v.overlay(read.Snapshot, ttl)
	return tiers.Read{Snapshot: state, Outcome: tiers.OutcomePending}, ok
}

// Reloads reports whether the storage below reads several sessions together.
func (s *Storage) Reloads() bool { return tiers.ReloaderOf(s.Storage) != nil }

// LoadAll reads those together that needn't wait for a write. A session that changes while they are
// read is read once more, alone.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	results, views := make([]tiers.Reloaded, len(loads)), make([]*view, len(loads)) // no view of those that are read alone
	var together []tiers.Reload
	for n, l := range loads {
		if v := s.queues.look(l.ID); v.wait == nil {
			defer v.leave()
			if v.stored != nil {
				l.Known = v.stored // the caller knows it with what is pending
			}
			views[n], together = v, append(together, l)
		}
	}
	began, clock := time.Now(), s.carrier.slides.clock()
	var loaded []tiers.Reloaded
	if len(together) > 0 {
		loaded = tiers.ReloaderOf(s.Storage).LoadAll(ctx, together)
	}
	for n, l := range loads {
		v, ok := views[n], views[n] != nil
		if ok {
			if results[n], loaded = loaded[0], loaded[1:]; results[n].Err == nil {
				results[n].Read, ok = s.under(v, results[n].Read, l.TTL, began, clock)
			}
		}
		if !ok {
			results[n].Read, results[n].Err = s.Load(ctx, l.ID, l.TTL)
		}
	}
	return results
}

// RemoveAll removes the session and annuls every change of it that waits: those return
// ErrRevoked. It waits for a commit that is at the store already, so that nothing brings
// the session back once it has returned (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	if !s.merges(ctx) {
		return s.Storage.RemoveAll(ctx, id)
	}
	s.carrier.slides.forget(id)
	if _, err := s.put(ctx, change{id: id}); err != nil {
		return err
	}
	limited, cancel := diskLimit(ctx, s.carrier.timeout.get())
	defer cancel()
	if _, err := s.queues.recorded(limited); err != nil {
		return err
	}
	s.face.Removed(id)
	return nil
}

// SkipsSlide is the first step of a Slide.
func (s *Storage) SkipsSlide(id string, ttl time.Duration) (until time.Time, skips bool) {
	if ttl <= 0 {
		return time.Time{}, false
	}
	s.queues.extend(id, ttl)
	return s.carrier.slides.skips(id, ttl)
}

// Slid is the expiry that the store was last given, or has returned.
func (s *Storage) Slid(id string) time.Time {
	e, _ := s.carrier.slides.get(id)
	return e.moment()
}

// Slide sets the expiry to a part more than ttl, and does nothing as long as the
// session then still lives for all of ttl: a session in use never expires early, and
// none outlives its ttl by more than that part (law 8). Each node slides on its own.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if !s.merges(ctx) || ttl <= 0 {
		return s.Storage.Slide(ctx, id, ttl)
	}
	s.queues.extend(id, ttl)
	until, _, err := s.carrier.slide(ctx, id, ttl)
	return until, err
}

// TTLFor is the ttl of a commit after which the session lives so long, and no longer.
func (s *Storage) TTLFor(life time.Duration) time.Duration {
	return time.Duration(float64(life) / (1 + s.carrier.slides.every))
}

// UpdateTTL is Slide.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

// Change sets WriteTimeout, WriteBehind, MaxPending and MaxPendingBytes while the layer runs, those
// that aren't given to their defaults. Other options stay as they are, and so does whether it
// writes behind. Changes that are pending already keep their moment.
func (s *Storage) Change(opts ...Option) {
	o := optionsOf(opts)
	if (o.WriteBehind > 0) != (s.interval.get() > 0) {
		o.WriteBehind = s.interval.get()
	}
	s.limit(o)
}

func (s *Storage) limit(o Options) {
	s.interval.set(o.WriteBehind)
	s.carrier.timeout.set(o.WriteTimeout)
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	s.queues.schedule.grain = grainOf(o.WriteBehind)
	s.queues.bounds.maxSessions, s.queues.bounds.maxBytes = o.MaxPending, o.MaxPendingBytes
	s.queues.bounds.next()
}

// Flush returns when every change that was accepted before the call is in the store
// or has failed, or when ctx ends, the chain is closed or the store's client was ([tiers.ErrClosed]); then the
// error counts the changes that wait.
func (s *Storage) Flush(ctx context.Context) error { return s.queues.flush(ctx) }

// MayClose returns why Close would wait for its own caller, nil if it wouldn't. A chain asks
// before it closes its layers on another goroutine.
func (s *Storage) MayClose() error {
	if inCallback() {
		return errCallback
	}
	return nil
}

// Close flushes and waits for its goroutines until ctx ends, and for reports a tenth of a
// second longer. Changes that aren't in the store by then wait in the journal, and are given up
// without one. Calls that come later go to the storage below, except those of a session of which
// the journal has a write, or of which a write is still at the store: they return an error, as that
// write comes later than theirs.
func (s *Storage) Close(ctx context.Context) error {
	if err := s.MayClose(); err != nil {
		return err
	}
	defer s.circuits.Close()
	return s.queues.close(ctx, func() { s.reporter.Stop(s) })
}

// Pending returns how many changes aren't in the store yet, what they take in bytes, and
// for how long the oldest has been waiting.
func (s *Storage) Pending() (changes int, bytes int64, oldest time.Duration) {
	return s.queues.pending()
}

// Tally is where the layer counts.
func (s *Storage) Tally() *telemetry.Tally { return &s.tally }

// Gauges sets what is pending.
func (s *Storage) Gauges(set func(telemetry.Gauge, float64)) {
	changes, bytes, oldest := s.Pending()
	set(telemetry.PendingChanges, float64(changes))
	set(telemetry.PendingMemory, float64(bytes))
	set(telemetry.PendingAge, oldest.Seconds())
}

// Report sets where the layer and what it stands on report to.
func (s *Storage) Report(to *telemetry.Sink) {
	s.reporter.Move(to, s)
	telemetry.ReportTo(s.Storage, to)
}

// GetSession hands out a copy of the session.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if !s.merges(ctx) {
		return s.Storage.GetSession(ctx, id, ttl)
	}
	return s.face.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since it was handed out.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if !s.merges(ctx) {
		return s.Storage.SetSession(ctx, id, data, ttl)
	}
	return s.face.SetSession(ctx, id, data, ttl)
}
