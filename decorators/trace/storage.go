package trace

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage makes a span of every operation of the storage that it wraps. It is safe
// for concurrent use, and has nothing to close.
//
// style is atomic; all other fields are set at construction and guard themselves.
type Storage struct {
	given  gsession.Storage // as New got it, for Unwrap
	inner  tiers.Storage
	face   *sessionmap.Maps // for a stranger's decorator above
	tracer *telemetry.Tracer
	sink   *telemetry.Sink // nil: no option has named one
	style  atomic.Uint32   // what Style last answered: spans never ask the store
}

var _ tiers.Storage = (*Storage)(nil)

// New wraps a storage. Without options the spans go to the global provider of the
// moment; none are made while that is GoFrame's default, which exports nothing.
func New(inner gsession.Storage, opts ...telemetry.Option) *Storage {
	if inner == nil {
		panic("strata: trace.New needs a storage; write layer.Chain(store, layer.Traced())")
	}
	config := telemetry.Configure(opts...)
	kind := telemetry.StorageKey.String(reflect.TypeOf(inner).String())
	s := &Storage{given: inner, inner: sessionmap.Adapt(inner), tracer: telemetry.NewTracer(config, kind), sink: config.Sink()}
	s.face = sessionmap.New(s)
	s.Report(s.sink)
	return s
}

// Sink is where the options have all layers of the chain report, nil where they haven't.
func (s *Storage) Sink() *telemetry.Sink { return s.sink }

// Report tells what the layer stands on where to report.
func (s *Storage) Report(to *telemetry.Sink) {
	if to != nil {
		telemetry.ReportTo(s.inner, to)
	}
}

// Unwrap returns the storage that is wrapped.
func (s *Storage) Unwrap() gsession.Storage { return s.given }

// Style is the inner storage's. It is no operation, and makes no span.
func (s *Storage) Style(ctx context.Context) tiers.Style {
	style := s.inner.Style(ctx)
	if s.style.Load() != uint32(style) {
		s.style.Store(uint32(style))
	}
	return style
}

// Load is the inner storage's, with a span that says which way it was answered.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if s.tracer.Wants(ctx) {
		return s.load(ctx, id, ttl)
	}
	return s.inner.Load(ctx, id, ttl)
}

// load is apart, so that what isn't sampled pays for no room that a span needs.
func (s *Storage) load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	ctx, op := s.begin(ctx, telemetry.Load)
	defer op.end()
	read, err := s.inner.Load(ctx, id, ttl)
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
		return s.inner.Commit(ctx, id, delta, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Commit)
	defer op.end()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	op.done(telemetry.OK, len(delta.Set())+len(delta.Removed()), err)
	return snapshot, err
}

// Slide is the inner storage's, with a span.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	if !s.tracer.Wants(ctx) {
		return s.inner.Slide(ctx, id, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Slide)
	defer op.end()
	until, err := s.inner.Slide(ctx, id, ttl)
	op.done(telemetry.OK, uncounted, err)
	return until, err
}

// GetSession answers a layer above that has no capability. Over a snapshot store it
// is a Load, and makes that span.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.face.GetSession(ctx, id, ttl)
	}
	if !s.tracer.Wants(ctx) {
		return s.inner.GetSession(ctx, id, ttl)
	}
	ctx, op := s.beginRead(ctx, telemetry.GetSession)
	defer op.end()
	m, err := s.inner.GetSession(ctx, id, ttl)
	op.done(found(m != nil), uncounted, err)
	return m, err
}

// SetSession answers a layer above that has no capability. Over a snapshot store it
// is a Commit, and makes that span.
func (s *Storage) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.face.SetSession(ctx, id, m, ttl)
	}
	if !s.tracer.Wants(ctx) {
		return s.inner.SetSession(ctx, id, m, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.SetSession)
	defer op.end()
	err := s.inner.SetSession(ctx, id, m, ttl)
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
	err := s.inner.RemoveAll(ctx, id)
	if err == nil {
		s.face.Removed(id)
	}
	return err
}

// UpdateTTL is the inner storage's, with a span.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if !s.tracer.Wants(ctx) {
		return s.inner.UpdateTTL(ctx, id, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.UpdateTTL)
	defer op.end()
	err := s.inner.UpdateTTL(ctx, id, ttl)
	op.done(telemetry.OK, uncounted, err)
	return err
}
