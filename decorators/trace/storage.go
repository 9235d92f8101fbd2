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
	return read(ctx, s, s.tracer.Wants(ctx), telemetry.GetSession, func(ctx context.Context) (*gmap.StrAnyMap, error) {
		return s.Storage.GetSession(ctx, id, ttl)
	}, func(m *gmap.StrAnyMap) (bool, int) { return m != nil, uncounted })
}

// SetSession is for a layer above without the capability. Over a snapshot store it
// is a Commit, and makes that span.
func (s *Storage) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.maps.SetSession(ctx, id, m, ttl)
	}
	return s.write(ctx, s.tracer.Wants(ctx), telemetry.SetSession, uncounted, func(ctx context.Context) error {
		return s.Storage.SetSession(ctx, id, m, ttl)
	})
}

// RemoveAll is the inner storage's, with a span. Once it has returned, maps that
// this layer handed out are of a removed session (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	return s.write(ctx, s.tracer.Wants(ctx), telemetry.RemoveAll, uncounted, func(ctx context.Context) error {
		err := s.Storage.RemoveAll(ctx, id)
		if err == nil {
			s.maps.Removed(id)
		}
		return err
	})
}

// UpdateTTL is the inner storage's, with a span.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	return s.write(ctx, s.tracer.Wants(ctx), telemetry.UpdateTTL, uncounted, func(ctx context.Context) error {
		return s.Storage.UpdateTTL(ctx, id, ttl)
	})
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
func (s *Storage) New(ctx context.Context, ttl time.Duration) (id string, err error) {
	err = s.write(ctx, s.wants(ctx), telemetry.New, uncounted, func(ctx context.Context) (err error) {
		id, err = s.Storage.New(ctx, ttl)
		return err
	})
	return id, err
}

// Get is the inner storage's, with a span.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	return read(ctx, s, s.wants(ctx), telemetry.Get, func(ctx context.Context) (any, error) {
		return s.Storage.Get(ctx, id, key)
	}, func(value any) (bool, int) { return value != nil, uncounted })
}

// GetSize is the inner storage's, with a span that counts the keys.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	return read(ctx, s, s.wants(ctx), telemetry.GetSize, func(ctx context.Context) (int, error) {
		return s.Storage.GetSize(ctx, id)
	}, func(size int) (bool, int) { return size > 0, size })
}

// Data is the inner storage's, with a span that counts the keys.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	return read(ctx, s, s.wants(ctx), telemetry.Data, func(ctx context.Context) (map[string]any, error) {
		return s.Storage.Data(ctx, id)
	}, func(data map[string]any) (bool, int) { return len(data) > 0, len(data) })
}

// Set is the inner storage's, with a span.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	return s.write(ctx, s.wants(ctx), telemetry.Set, 1, func(ctx context.Context) error {
		return s.Storage.Set(ctx, id, key, value, ttl)
	})
}

// SetMap is the inner storage's, with a span that counts the keys.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	return s.write(ctx, s.wants(ctx), telemetry.SetMap, len(data), func(ctx context.Context) error {
		return s.Storage.SetMap(ctx, id, data, ttl)
	})
}

// Remove is the inner storage's, with a span.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	return s.write(ctx, s.wants(ctx), telemetry.Remove, 1, func(ctx context.Context) error {
		return s.Storage.Remove(ctx, id, key)
	})
}

// write is a call whose result says nothing but whether it failed, in a span if one is wanted.
func (s *Storage) write(ctx context.Context, wanted bool, method telemetry.Operation, keys int, call func(context.Context) error) error {
	if !wanted {
		return call(ctx)
	}
	ctx, op := s.begin(ctx, method)
	defer op.end()
	err := call(ctx)
	op.done(telemetry.OK, keys, err)
	return err
}

// read is a read that doesn't return a Snapshot, in a span if one is wanted. found says of its result
// whether it is there, and how many keys it has.
func read[T any](ctx context.Context, s *Storage, wanted bool, method telemetry.Operation, call func(context.Context) (T, error), found func(T) (there bool, keys int)) (T, error) {
	if !wanted {
		return call(ctx)
	}
	ctx, op := s.begin(ctx, method)
	defer op.end()
	result, err := call(ctx)
	there, keys := found(result)
	outcome := telemetry.OK
	if !there {
		outcome = telemetry.Absent
	}
	op.done(outcome, keys, err)
	return result, err
}
