// Package local is the tier in the memory of the process: it serves reads of
// sessions that it knows to be current, without the store.
//
// The cache doesn't decide whether a session is current, as ristretto may drop, delay and
// reorder what it is given, but the generation guard does: an entry is served only while
// nothing has bumped its id since its load began. The expiry in the store bounds an entry as
// well, and so does MaxStale while no source vouches for memory.
//
// Locks are taken in this order: subscriptions.mu, those of sources and feeds, a stripe, and then
// flights.mu or ownWrites.mu. watch.mu is taken after those of subscriptions and sources, and none
// after it. Two stripes are never held together, and none of the tier's locks while a session is
// loaded or written.
package local

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage caches the sessions of the storage below it. It promises laws 1 to 9 of
// package layer, with law 4 bounded by MaxStale. Memory is bounded by MaxBytes and
// 4,096 ids without a session; goroutines are two of ristretto's and one for each load
// that is under way, or was in the last 20 ms. Safe for concurrent use.
//
// All fields are set by New and guard themselves.
type Storage struct {
	wrapped       gsession.Storage
	inner         tiers.Storage
	circuits      *circuit.Store // between here and the store, at the lowest layer that has any
	face          *sessionmap.Maps
	options       Options
	thinner       tiers.SlideLimiter // a layer below that skips slides itself, nil for none
	memory        memory
	order         order
	own           ownWrites
	flights       flights
	watch         watch
	subscriptions subscriptions
	auditor       *auditor // nil: not asked for
	restart       *restart // nil: not asked for
	tally         telemetry.Tally
	reporter      telemetry.Reporter
}

var (
	_ tiers.Storage = (*Storage)(nil)
	_ tiers.Adviser = (*Storage)(nil)
)

// New puts a local tier on a storage.
func New(inner gsession.Storage, opts ...Option) *Storage {
	s := &Storage{wrapped: inner, options: optionsOf(opts)}
	s.memory.limits.Store(&s.options)
	s.inner, s.circuits = circuit.Over(inner)
	s.thinner, _ = tiers.Find[tiers.SlideLimiter](inner)
	s.face = sessionmap.New(s)
	clock := clock{time.Now()}
	s.memory.clock, s.memory.options, s.memory.tally = clock, &s.options, &s.tally
	s.memory.guard, s.memory.watch = newGuard(s.options.slots()), &s.watch
	s.order.memory, s.order.flights, s.order.own = &s.memory, &s.flights, &s.own
	s.order.tally, s.order.reporter = &s.tally, &s.reporter
	s.watch.clock, s.watch.order, s.watch.ready = clock, &s.order, make(chan struct{})
	s.own.order, s.own.inner = &s.order, s.inner
	s.own.init()
	s.flights.init(&s.tally, s.options.LoadTimeout)
	if err := s.memory.init(); err != nil {
		panic("strata: layer.Local can't make its cache: " + err.Error())
	}
	s.auditor = newAuditor(s, s.options.Audited)
	s.reporter.Start(s)
	for _, source := range s.options.Invalidations {
		s.subscriptions.add(subscription{layer: source}, func() func() { return s.watch.listen(source) })
	}
	s.discover(inner, true)
	s.restart = newRestart(s, s.options.WarmRestart)
	return s
}

// Discover subscribes to the given layer, and to those below that it shows with Unwrap. The
// constructor does so; a chain calls it for layers behind one without Unwrap.
func (s *Storage) Discover(below gsession.Storage) { s.discover(below, false) }

// discover subscribes; alike says that the layer's sessions come here as they are. If several layers
// publish commits, only the nearest knows what readers see, if no layer between may change it: a
// state that another one publishes may lack changes that are pending above it, or have other values.
func (s *Storage) discover(below gsession.Storage, alike bool) {
	for below := range tiers.Layers(below) {
		if feed, ok := below.(tiers.CommitFeed); ok {
			s.subscriptions.add(subscription{layer: below, commits: true}, func() func() {
				return feed.Follow(commits{order: &s.order, nearest: alike && !s.order.published.Swap(true)})
			})
		}
		_, flows := below.(tiers.Storage)
		_, changes := below.(interface{ ChangesSessions() })
		alike = alike && flows && !changes
		source, vouches := below.(tiers.InvalidationSource)
		layer, ends := below.(interface {
			Source() (source tiers.InvalidationSource, vouches bool)
		})
		if ends { // sessions itself, also those of an exclusive process
			source, vouches = layer.Source()
			s.subscriptions.add(subscription{layer: source}, func() func() { return source.Subscribe(endings{&s.order}) })
		}
		if vouches && !s.options.Exclusive {
			s.subscriptions.add(subscription{layer: below}, func() func() { return s.watch.listen(source) })
		}
	}
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.wrapped }

// Circuits returns those between this layer, or one below, and the store.
func (s *Storage) Circuits() *circuit.Store { return s.circuits }

// Style returns that of the storage below.
func (s *Storage) Style(ctx context.Context) tiers.Style { return s.inner.Style(ctx) }

// Load returns the session from memory if the entry is current, else from the storage below,
// with one flight for all readers that come at the same time.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	hash := s.memory.guard.Hash(id)
	e, v := s.memory.look(hash)
	if e != nil && e.current(id, v) {
		s.tally.AddAt(telemetry.ReadHit, hash)
		if s.auditor != nil {
			s.auditor.hit(hash, e, ttl)
		}
		return tiers.Read{Snapshot: e.snapshot, Outcome: tiers.OutcomeHit}, nil
	}
	if none := s.memory.absences.find(hash); none != nil && none.stamp == v.stamp && v.serves(none) && !s.memory.gate.closed() {
		s.tally.AddAt(telemetry.ReadNegative, hash)
		return tiers.Read{Outcome: tiers.OutcomeNegative}, nil
	}
	if e != nil && e.id == id {
		s.memory.refused(hash, e, v)
	}
	return s.miss(ctx, id, ttl, hash, v)
}

// miss loads from the storage below.
func (s *Storage) miss(ctx context.Context, id string, ttl time.Duration, hash uint64, v view) (tiers.Read, error) {
	count := telemetry.ReadMiss
	defer func() { s.tally.AddAt(count, hash) }()
	if s.memory.gate.closed() {
		return s.inner.Load(ctx, id, ttl)
	}
	stamp := s.memory.guard.Hold(hash)
	join := func(ctx context.Context) (read tiers.Read, err error) {
		// Once more if the session had expired before this reader joined.
		for now, oldest := v.now, s.memory.joinable(v); ; now, oldest = s.memory.now(), v.now {
			read, err = s.flights.join(ctx, flightKey{id: id, stamp: stamp}, now, oldest, func(ctx context.Context) (tiers.Read, error) {
				return s.fetch(ctx, id, ttl, hash)
			})
			if read.Snapshot == nil || v.now < s.memory.ends(read.Snapshot) || oldest == v.now {
				return read, err
			}
		}
	}
	if _, ok := s.memory.stale(hash, id, ttl); !ok {
		return join(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, s.memory.limits.Load().LoadTimeout/softPart)
	defer cancel()
	read, err := join(soon)
	switch snapshot, ok := s.memory.stale(hash, id, ttl); {
	case err == nil || ctx.Err() != nil:
		return read, err
	case ok:
		count = telemetry.ReadStale
		return tiers.Read{Snapshot: snapshot, Outcome: tiers.OutcomeStale}, nil
	case soon.Err() != nil:
		return join(ctx)
	default:
		return read, err
	}
}

// A read waits for a softPart-th of LoadTimeout if ServeStale allows to serve it from
// memory. The load goes on.
const softPart = 10

// fetch loads the session, and keeps it.
func (s *Storage) fetch(ctx context.Context, id string, ttl time.Duration, hash uint64) (tiers.Read, error) {
	c, began := s.order.begin(hash, false), s.memory.now()
	ended := false
	defer func() {
		if !ended {
			s.order.leave(c)
		}
	}()
	s.tally.AddAt(telemetry.Loads, hash)
	s.restart.asked(ttl)
	read, err := s.inner.Load(ctx, id, ttl)
	if err != nil {
		return tiers.Read{}, err
	}
	if read.Outcome != tiers.OutcomePending {
		read.Outcome = tiers.OutcomeMiss
	}
	ended = true
	s.order.loaded(c, id, read, began, true)
	return read, nil
}

// Commit passes the delta on, and keeps the state that the store returns, unless
// readers may have seen another one meanwhile. Whatever the outcome, nothing
// older is served afterwards (law 3): a commit that failed may have been applied.
//
// A layer below that merges commits publishes what the session has become before the commit
// returns, in the order in which commits happen; a state that it returns unpublished isn't kept.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	hash := s.memory.guard.Hash(id)
	if delta.Empty() {
		return s.unchanged(ctx, hash, id, delta, ttl)
	}
	c, began := s.order.begin(hash, true), s.memory.now()
	published := false
	var written *entry
	defer func() {
		if published {
			s.order.leave(c)
		} else {
			s.order.wrote(c, written)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	state := snapshot
	if s.order.published.Load() {
		published, state = err == nil && snapshot.Published(), nil
	}
	if err == nil && (state != nil || s.options.Exclusive) { // the store has the session, if not in a state that is known
		written = &entry{id: id, snapshot: state, loaded: began, until: later(began, ttl.Truncate(time.Second)), own: s.own.of(ttl)}
	}
	return snapshot, err
}

// RemoveAll removes the session below, and from memory whatever the outcome.
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	defer s.order.invalidate(s.memory.guard.Hash(id), telemetry.InvalidatedByWrite)
	err := s.inner.RemoveAll(ctx, id)
	if err == nil {
		s.face.Removed(id)
	}
	return err
}

// Slide sets the expiry. If memory knows the present one, it sets a tenth more than ttl, and
// skips a slide as long as the session then lives for all of ttl: a session in use never expires
// early, and none outlives its ttl by more than that tenth (law 8). A layer below that is a
// tiers.SlideLimiter decides that itself.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if s.thinner != nil {
		if until, skips := s.thinner.SkipsSlide(id, ttl); skips {
			return until, nil
		}
	}
	hash := s.memory.guard.Hash(id)
	at, known, _ := s.memory.expiry(hash, id)
	return s.slide(ctx, hash, id, ttl, at, known)
}

// slide slides the expiry, known if the store returns one. Memory then serves the session for no
// longer than the store surely holds it.
func (s *Storage) slide(ctx context.Context, hash uint64, id string, ttl time.Duration, at time.Time, known bool) (time.Time, error) {
	longer := ttl
	if known {
		longer = tenthMore(ttl)
	}
	if left := time.Until(at); !at.IsZero() && ttl > 0 && left >= ttl && left <= longer {
		s.tally.AddAt(telemetry.SlideSkipped, hash)
		return at, nil
	}
	c, began := s.order.begin(hash, true), s.memory.now()
	until, err := time.Time{}, error(errAborted)
	defer func() {
		switch {
		case err != nil, until.IsZero() && !known:
			s.order.cap(c, id, later(began, longer))
		case until.IsZero(): // the store returns expiries, and has no such session
			s.order.wrote(c, nil)
		case until.Equal(at): // skipped below
			s.order.leave(c)
		default:
			s.order.slid(c, id, ttl, until)
		}
	}()
	sets := longer
	if s.thinner != nil { // it adds the tenth, and counts
		sets = ttl
	} else {
		s.tally.AddAt(telemetry.SlideSent, hash)
	}
	until, err = s.inner.Slide(ctx, id, sets)
	return until, err
}

// tenthMore is the expiry that is set for a ttl, so that the next slides can be skipped.
func tenthMore(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl >= math.MaxInt64/2 {
		return ttl
	}
	return ttl + ttl/10
}

// unchanged is the close of a request that changed nothing. If memory holds the session and knows
// its expiry, it is a Slide, which finds out if the session is gone. Else the storage below
// commits the empty delta, and the entry lives longer only if that returns the new expiry.
func (s *Storage) unchanged(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	at, known, keys := s.memory.expiry(hash, id)
	if s.thinner == nil && known && keys > 0 {
		until, err := s.slide(ctx, hash, id, ttl, at, known)
		gone := err == nil && until.IsZero() // or the layer below doesn't know
		if !gone && !errors.Is(err, gsession.ErrorDisabled) {
			return nil, err
		}
	}
	c, began := s.order.begin(hash, true), s.memory.now()
	err := error(errAborted)
	var snapshot *tiers.Snapshot
	defer func() {
		until := s.reported(id, snapshot)
		switch {
		case err != nil:
			s.order.wrote(c, nil)
		case until.IsZero():
			s.order.cap(c, id, later(began, tenthMore(ttl)))
		case until.After(at) || at.Sub(until) > sameExpiry:
			s.order.slid(c, id, ttl, until)
		default:
			s.order.leave(c)
		}
	}()
	snapshot, err = s.inner.Commit(ctx, id, delta, ttl)
	return snapshot, err
}

// sameExpiry is the difference up to which an earlier expiry counts as the same.
const sameExpiry = 10 * time.Millisecond

// reported returns the expiry that the layers below returned with an unchanged close, zero for none.
func (s *Storage) reported(id string, state *tiers.Snapshot) (until time.Time) {
	switch {
	case state != nil:
		until, _ = state.Expires()
	case s.thinner != nil:
		until = s.thinner.Slid(id)
	}
	return until
}

// UpdateTTL is Slide.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

// Advise says whether a source is unsupported. It makes no call.
func (s *Storage) Advise(context.Context) []tiers.Advice {
	if sources, supported := s.watch.state(); sources == 0 || supported {
		return nil
	}
	return []tiers.Advice{{Topic: "tracking", Text: "the store sends no invalidations, so that this node notices what others write only after MaxStale; " +
		"the log says what the server refused, and what to set in its place"}}
}

// Tally returns the tier's counts.
func (s *Storage) Tally() *telemetry.Tally { return &s.tally }

// Gauges reports how much the tier holds, and whether its sources vouch.
func (s *Storage) Gauges(set func(telemetry.Gauge, float64)) {
	if s.memory.gate.closed() {
		return
	}
	set(telemetry.Sessions, float64(s.memory.count()))
	set(telemetry.MemoryUsage, float64(s.memory.hot.held.Load()+s.memory.cache.MaxCost()-s.memory.cache.RemainingCost()))
	set(telemetry.MemoryLimit, float64(s.memory.limits.Load().MaxBytes))
	sources, supported := s.watch.state()
	if sources == 0 {
		return
	}
	set(telemetry.WatchConnected, is(supported && s.memory.now() < s.watch.until.Load()))
	set(telemetry.WatchUnsupported, is(!supported))
}

func is(so bool) float64 {
	if so {
		return 1
	}
	return 0
}

// Report sets where the tier and the layers below it report.
func (s *Storage) Report(to *telemetry.Sink) {
	s.reporter.Move(to, s)
	telemetry.ReportTo(s.inner, to)
}

// Change sets MaxBytes, MaxStale, LoadTimeout and ServeStale while the tier runs, those
// that aren't given to their defaults. Other options stay as they are. Sessions that are in memory
// keep their end; those beyond a smaller bound go, the hot ones of them as others are kept.
func (s *Storage) Change(opts ...Option) {
	o := optionsOf(opts)
	s.memory.limits.Store(&o)
	s.flights.timeout.Store(int64(o.LoadTimeout))
	s.memory.hot.most.Store(o.MaxBytes / hotPart)
	s.memory.gate.do(0, func() { s.memory.resize(o.MaxBytes - o.MaxBytes/hotPart) })
}

// Close ends the tier's goroutines and subscriptions, and saves the file of WarmRestart. It waits
// for loads that are under way until ctx ends, then cancels them, and returns 50 ms later at the
// latest: a source or store that ignores its context keeps its goroutine until it returns, which
// the error says. Calls that come later go to the storage below.
func (s *Storage) Close(ctx context.Context) error {
	if !s.memory.gate.close() {
		return nil
	}
	stopped := make(chan struct{})
	var saved error
	go func() {
		defer close(stopped)
		held := s.restart.holds() // before reads that are broken off invalidate what they were to read again
		s.own.close()
		saved = s.restart.save(held)
		s.subscriptions.stop()
		s.watch.stop()
		s.auditor.close()
	}()
	err := s.flights.close(ctx)
	s.circuits.Close()
	select {
	case <-stopped:
		err = errors.Join(err, saved)
	case <-ctx.Done():
		select {
		case <-stopped:
			err = errors.Join(err, saved)
		case <-time.After(stopGrace):
			err = errors.Join(err, tiers.NewError("strata: a source or a read in the background had not ended when the local tier was closed", ctx.Err()))
		}
	}
	s.reporter.Stop(s)
	s.memory.cache.Close()
	return err
}

// stopGrace is the time for goroutines to return when ctx has ended.
const stopGrace = 50 * time.Millisecond
