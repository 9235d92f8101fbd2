// Package local is the tier in the memory of the process: it answers reads of
// sessions that it knows to be current, without the store.
//
// Whether a cached session is current doesn't rest on the cache (ristretto may drop,
// delay and reorder what it is given) but on the generation guard of package tiers:
// an entry is served only while nothing has bumped its id since its load began.
// What the store's expiry allows bounds an entry as well, and so does MaxStale, as
// long as nobody vouches that the store hasn't changed behind it.
package local

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage caches the sessions of the storage below it. It promises laws 1 to 9 of
// package layer, with law 4 bounded by MaxStale. Memory is bounded by MaxBytes and
// 4,096 negative entries; goroutines are two of ristretto's and one for each load
// that is under way, or was in the last 20 ms. Safe for concurrent use.
//
// All fields but the atomics are set by New and guard themselves.
type Storage struct {
	wrapped   gsession.Storage
	inner     tiers.Storage
	circuits  *circuit.Store // between here and the store, at the lowest layer that has any
	face      *sessionmap.Face
	options   options
	limits    atomic.Pointer[limits]
	thinner   tiers.SlideThinner // a layer below that skips slides itself, nil for none
	start     time.Time          // the zero of every moment in an entry
	guard     *guard
	cache     *ristretto.Cache[uint64, *parcel]
	keeping   keeping
	warm      warm
	negatives negatives
	flights   flights
	gate      gate
	plainMaps atomic.Bool // a direct store's sessions were seen to be empty maps
	sources   sources
	watch     watch
	echoes    echoes
	auditor   *auditor // nil: not asked for
	tally     telemetry.Tally
	sessions  atomic.Int64 // in the cache
	reporter  telemetry.Reporter
}

var _ tiers.Storage = (*Storage)(nil)

// New puts a local tier on a storage.
func New(inner gsession.Storage, opts ...Option) *Storage {
	s := &Storage{wrapped: inner, options: defaults(), start: time.Now()}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Local is nil; pass what a constructor returns, or leave it out")
		}
		opt(&s.options)
	}
	s.limits.Store(&s.options.limits)
	s.inner, s.circuits = circuit.Over(inner)
	s.thinner = thinner(inner)
	s.face = sessionmap.NewFace(s)
	s.guard = newGuard(s.options.guardSlots)
	s.warm.init(s.options.maxBytes)
	s.flights.init(&s.tally, s.options.loadTimeout)
	s.echoes.init(s)
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *parcel]{
		// Ten counters for each session of 1 KiB that fits, as ristretto advises.
		NumCounters:        min(max(s.options.maxBytes/1024, 1000), 10_000_000) * 10,
		MaxCost:            s.options.maxBytes - s.warm.most.Load(),
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnEvict:            func(*ristretto.Item[*parcel]) { s.tally.Add(telemetry.Evictions) },
		OnReject:           s.rejected,
		OnExit:             s.left,
	})
	if err != nil {
		panic("strata: layer.Local can't make its cache: " + err.Error())
	}
	s.cache = cache
	s.auditor = newAuditor(s, s.options.audited)
	s.reporter.Start(s)
	for _, source := range s.options.sources {
		s.sources.add(teller{layer: source}, func() func() { return s.listen(source) })
	}
	s.Hear(inner)
	return s
}

// thinner looks for a layer that skips slides.
func thinner(s gsession.Storage) tiers.SlideThinner {
	for {
		if t, ok := s.(tiers.SlideThinner); ok {
			return t
		}
		wrapper, ok := s.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return nil
		}
		s = wrapper.Unwrap()
	}
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.wrapped }

// Circuits are what stands between this layer, or one below, and the store.
func (s *Storage) Circuits() *circuit.Store { return s.circuits }

// Style is that of the storage below.
func (s *Storage) Style(ctx context.Context) tiers.Style { return s.inner.Style(ctx) }

// now is the moment on this tier's monotonic clock.
func (s *Storage) now() int64 { return int64(time.Since(s.start)) }

func (s *Storage) moment(t time.Time) int64 { return int64(t.Sub(s.start)) }

// never is a moment that doesn't come.
const never = math.MaxInt64

// entry is one session in memory, or the knowledge that there is none.
//
// What a hit looks at comes first, to be in one line of the processor's cache. No field is
// written once the entry is shared; what echo points to guards itself.
type entry struct {
	hash     uint64
	id       string
	snapshot *tiers.Snapshot // nil: at rest, or there is no such session, or only kept is known
	stamp    uint64          // the guard's, before the load began
	until    int64           // served before this moment
	echo     *echo           // of an own write
	watched  bool            // served only while the sources vouch
	rested   bool            // ristretto was given it packed
	absent   bool            // there is no such session
	alone    bool            // ristretto had nothing under the hash when it was kept
	loaded   int64           // when the load began
	kept     int64           // the store holds the session at least until then
}

// compact has the entry and its snapshot in one piece of memory, in which the second is found
// faster than elsewhere.
func (e *entry) compact() *entry {
	piece := &struct {
		entry    entry
		snapshot tiers.Snapshot
	}{*e, *e.snapshot}
	piece.entry.snapshot = &piece.snapshot
	return &piece.entry
}

// Load answers from memory where the entry is current, else from the storage below,
// with one flight for all who ask at the same time.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	hash := s.guard.Hash(id)
	e, v := s.look(hash)
	if e != nil && e.current(id, v) {
		s.tally.AddAt(telemetry.ReadHit, hash)
		if s.auditor != nil {
			s.auditor.hit(hash, e, ttl)
		}
		return tiers.Read{Snapshot: e.snapshot, Outcome: tiers.OutcomeHit}, nil
	}
	if none := s.negatives.find(hash); none != nil && none.stamp == v.stamp && v.serves(none) && !s.gate.closed() {
		s.tally.AddAt(telemetry.ReadNegative, hash)
		return tiers.Read{Outcome: tiers.OutcomeNegative}, nil
	}
	if e != nil && e.id == id {
		s.refused(hash, e, v)
	}
	return s.miss(ctx, id, ttl, hash, v)
}

// miss asks the storage below.
func (s *Storage) miss(ctx context.Context, id string, ttl time.Duration, hash uint64, v view) (tiers.Read, error) {
	count := telemetry.ReadMiss
	defer func() { s.tally.AddAt(count, hash) }()
	if s.gate.closed() {
		return s.inner.Load(ctx, id, ttl)
	}
	stamp := s.guard.Hold(hash)
	join := func(ctx context.Context) (tiers.Read, error) {
		return s.flights.join(ctx, flightKey{id: id, stamp: stamp}, v.now, s.joinable(v), func(ctx context.Context) (tiers.Read, error) {
			return s.fetch(ctx, id, ttl, hash)
		})
	}
	if _, ok := s.stale(hash, id); !ok {
		return join(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, s.limits.Load().loadTimeout/softPart)
	defer cancel()
	read, err := join(soon)
	switch snapshot, ok := s.stale(hash, id); {
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

// softPart of LoadTimeout is what a read waits for where ServeStale allows to answer it from
// memory. The load goes on.
const softPart = 10

// current reports whether the entry may be served for the id.
func (e *entry) current(id string, v view) bool { return e.stands(id, v) && v.vouches(e) }

// stands reports whether nothing is known to have changed since, vouched for or not.
func (e *entry) stands(id string, v view) bool {
	return e.stamp == v.stamp && v.now < e.until && e.id == id && e.snapshot != nil && e.echo.trusted(v.now)
}

// fetch loads, and keeps what it got.
func (s *Storage) fetch(ctx context.Context, id string, ttl time.Duration, hash uint64) (tiers.Read, error) {
	c, began := s.begin(hash, false), s.now()
	ended := false
	defer func() {
		if !ended {
			s.leave(c)
		}
	}()
	s.tally.AddAt(telemetry.Loads, hash)
	read, err := s.inner.Load(ctx, id, ttl)
	if err != nil {
		return tiers.Read{}, err
	}
	if read.Outcome != tiers.OutcomePending {
		read.Outcome = tiers.OutcomeMiss
	}
	ended = true
	s.returned(c, id, read, began, true)
	return read, nil
}

// Close stops what the tier started: it waits for loads that are under way until ctx
// ends, then cancels them. It returns when ctx ends at the latest: a source or store that
// ignores that keeps its goroutine until it returns, which the error says. Calls that come
// later are answered by the storage below.
func (s *Storage) Close(ctx context.Context) error {
	if !s.gate.close() {
		return nil
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.sources.stop()
		s.watch.stop()
		s.echoes.close()
		s.auditor.close()
	}()
	err := s.flights.close(ctx)
	s.circuits.Close()
	select {
	case <-stopped:
	case <-ctx.Done():
		select {
		case <-stopped:
		case <-time.After(stopGrace):
			err = errors.Join(err, tiers.NewError("strata: a source or a read in the background had not ended when the local tier was closed", ctx.Err()))
		}
	}
	s.reporter.Stop(s)
	s.cache.Close()
	return err
}

// stopGrace is for those who heed ctx to return after it has ended.
const stopGrace = 50 * time.Millisecond
