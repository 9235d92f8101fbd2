package trace

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage makes a span of every operation of the storage that it wraps. It is safe
// for concurrent use, and has nothing to close.
//
// style is atomic; all other fields are set at construction and guard themselves.
type Storage struct {
	tiers.Base
	given  gsession.Storage // as New got it, for Unwrap
	maps   *sessionmap.Maps // for a stranger's decorator above
	tracer *telemetry.Tracer
	sink   *telemetry.Sink // nil: the config names none
	style  atomic.Uint32   // the last result of Style: spans never ask the store
}

var _ tiers.Storage = (*Storage)(nil)

// New wraps a storage. Unless config names a provider the spans go to the global one of the
// moment; none are made while that is GoFrame's default, which exports nothing.
func New(inner gsession.Storage, config telemetry.Config) *Storage {
	if inner == nil {
		panic("strata: trace.New needs a storage; write layer.Chain(store, layer.Traced())")
	}
	kind := telemetry.StorageKey.String(reflect.TypeOf(inner).String())
	s := &Storage{Base: tiers.Base{Storage: sessionmap.Adapt(inner)}, given: inner, tracer: telemetry.NewTracer(config, kind), sink: config.Sink()}
	s.maps = sessionmap.New(s)
	if s.sink != nil {
		s.Report(s.sink)
	}
	return s
}

// Sink is where all layers of the chain are to report, nil if the config names none.
func (s *Storage) Sink() *telemetry.Sink { return s.sink }

// Unwrap returns the storage that is wrapped.
func (s *Storage) Unwrap() gsession.Storage { return s.given }

// Style is the inner storage's. It is no operation, and makes no span.
func (s *Storage) Style(ctx context.Context) tiers.Style {
	style := s.Storage.Style(ctx)
	if s.style.Load() != uint32(style) {
		s.style.Store(uint32(style))
	}
	return style
}

// Load is the inner storage's, with a span that says which way it was served.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if s.tracer.Wants(ctx) {
		return s.load(ctx, id, ttl)
	}
	return s.Storage.Load(ctx, id, ttl)
}

// load is apart, so that what isn't sampled pays for no room that a span needs.
func (s *Storage) load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	ctx, op := s.begin(ctx, telemetry.Load)
	defer op.end()
	read, err := s.Storage.Load(ctx, id, ttl)
	op.done(loaded(read), keysOf(read.Snapshot), err)
	if err == nil && read.Snapshot != nil {
		op.bytes = read.Snapshot.Size()
	}
	return read, err
}

// Commit is the inner storage's, with a span that counts the keys that the request
// set or removed.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if !s.tracer.Wants(ctx) {
		return s.Storage.Commit(ctx, id, delta, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Commit)
	defer op.end()
	snapshot, err := s.Storage.Commit(ctx, id, delta, ttl)
	op.done(telemetry.OK, len(delta.Set())+len(delta.Removed()), err)
	return snapshot, err
}

// Slide is the inner storage's, with a span.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if !s.tracer.Wants(ctx) {
		return s.Storage.Slide(ctx, id, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Slide)
	defer op.end()
	until, err := s.Storage.Slide(ctx, id, ttl)
	op.done(telemetry.OK, uncounted, err)
	return until, err
}

// GetSession is for a layer above without the capability. Over a snapshot store it
// is a Load, and makes that span.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.maps.GetSession(ctx, id, ttl)
	}
	if !s.tracer.Wants(ctx) {
		return s.Storage.GetSession(ctx, id, ttl)
	}
	ctx, op := s.beginRead(ctx, telemetry.GetSession)
	defer op.end()
	m, err := s.Storage.GetSession(ctx, id, ttl)
	op.done(found(m != nil), uncounted, err)
	return m, err
}

// SetSession is for a layer above without the capability. Over a snapshot store it
// is a Commit, and makes that span.
func (s *Storage) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.maps.SetSession(ctx, id, m, ttl)
	}
	if !s.tracer.Wants(ctx) {
		return s.Storage.SetSession(ctx, id, m, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.SetSession)
	defer op.end()
	err := s.Storage.SetSession(ctx, id, m, ttl)
	op.done(telemetry.OK, uncounted, err)
	return err
}

// RemoveAll is the inner storage's, with a span. Once it has returned, maps that
// this layer handed out are of a removed session (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	if !s.tracer.Wants(ctx) {
		return s.remove(ctx, id)
	}
	ctx, op := s.begin(ctx, telemetry.RemoveAll)
	defer op.end()
	err := s.remove(ctx, id)
	op.done(telemetry.OK, uncounted, err)
	return err
}

func (s *Storage) remove(ctx context.Context, id string) error {
	err := s.Storage.RemoveAll(ctx, id)
	if err == nil {
		s.maps.Removed(id)
	}
	return err
}

// UpdateTTL is the inner storage's, with a span.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if !s.tracer.Wants(ctx) {
		return s.Storage.UpdateTTL(ctx, id, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.UpdateTTL)
	defer op.end()
	err := s.Storage.UpdateTTL(ctx, id, ttl)
	op.done(telemetry.OK, uncounted, err)
	return err
}

// CommitAll is the inner storage's, with a span for all of it, which counts the keys
// and has the type of the first failure. That a session was removed meanwhile is none.
func (s *Storage) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	if !s.tracer.Wants(ctx) {
		return s.Base.CommitAll(ctx, commits)
	}
	ctx, op := s.begin(ctx, telemetry.CommitAll)
	defer op.end()
	results := s.Base.CommitAll(ctx, commits)
	keys := 0
	for _, commit := range commits {
		keys += len(commit.Delta.Set()) + len(commit.Delta.Removed())
	}
	op.done(telemetry.OK, keys, failure.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
	return results
}

// LoadAll is the inner storage's, with a span for all of it, which counts the keys
// and has the type of the first failure.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	if !s.tracer.Wants(ctx) {
		return s.Base.LoadAll(ctx, loads)
	}
	ctx, op := s.begin(ctx, telemetry.LoadAll)
	defer op.end()
	results := s.Base.LoadAll(ctx, loads)
	keys := 0
	for _, result := range results {
		if result.Read.Snapshot != nil {
			keys += result.Read.Snapshot.Len()
		}
	}
	op.done(telemetry.OK, keys, failure.BatchFailure(results, func(r tiers.Reloaded) error { return r.Err }))
	return results
}

// The methods of a direct store follow. A snapshot store disables them, and has no span of them.

// wants is called for them in place of the tracer's Wants.
func (s *Storage) wants(ctx context.Context) bool {
	return s.tracer.Wants(ctx) && s.Style(ctx) != tiers.StyleSnapshot
}

// New is the inner storage's, with a span.
func (s *Storage) New(ctx context.Context, ttl time.Duration) (string, error) {
	if !s.wants(ctx) {
		return s.Storage.New(ctx, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.New)
	defer op.end()
	id, err := s.Storage.New(ctx, ttl)
	op.done(telemetry.OK, uncounted, err)
	return id, err
}

// Get is the inner storage's, with a span.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	if !s.wants(ctx) {
		return s.Storage.Get(ctx, id, key)
	}
	ctx, op := s.beginRead(ctx, telemetry.Get)
	defer op.end()
	value, err := s.Storage.Get(ctx, id, key)
	op.done(found(value != nil), uncounted, err)
	return value, err
}

// GetSize is the inner storage's, with a span that counts the keys.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	if !s.wants(ctx) {
		return s.Storage.GetSize(ctx, id)
	}
	ctx, op := s.beginRead(ctx, telemetry.GetSize)
	defer op.end()
	size, err := s.Storage.GetSize(ctx, id)
	op.done(found(size > 0), size, err)
	return size, err
}

// Data is the inner storage's, with a span that counts the keys.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	if !s.wants(ctx) {
		return s.Storage.Data(ctx, id)
	}
	ctx, op := s.beginRead(ctx, telemetry.Data)
	defer op.end()
	data, err := s.Storage.Data(ctx, id)
	op.done(found(len(data) > 0), len(data), err)
	return data, err
}

// Set is the inner storage's, with a span.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if !s.wants(ctx) {
		return s.Storage.Set(ctx, id, key, value, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Set)
	defer op.end()
	err := s.Storage.Set(ctx, id, key, value, ttl)
	op.done(telemetry.OK, 1, err)
	return err
}

// SetMap is the inner storage's, with a span that counts the keys.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if !s.wants(ctx) {
		return s.Storage.SetMap(ctx, id, data, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.SetMap)
	defer op.end()
	err := s.Storage.SetMap(ctx, id, data, ttl)
	op.done(telemetry.OK, len(data), err)
	return err
}

// Remove is the inner storage's, with a span.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	if !s.wants(ctx) {
		return s.Storage.Remove(ctx, id, key)
	}
	ctx, op := s.begin(ctx, telemetry.Remove)
	defer op.end()
	err := s.Storage.Remove(ctx, id, key)
	op.done(telemetry.OK, 1, err)
	return err
}
