package trace

import (
	"context"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// The methods of a direct store. A snapshot store disables them, so that there is nothing to
// tell.

// wants is asked for them in place of the tracer's Wants.
func (s *Storage) wants(ctx context.Context) bool {
	return s.tracer.Wants(ctx) && s.Style(ctx) != tiers.StyleSnapshot
}

// New is the inner storage's, with a span.
func (s *Storage) New(ctx context.Context, ttl time.Duration) (string, error) {
	if !s.wants(ctx) {
		return s.inner.New(ctx, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.New)
	defer op.end()
	id, err := s.inner.New(ctx, ttl)
	op.done(telemetry.OK, uncounted, err)
	return id, err
}

// Get is the inner storage's, with a span.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	if !s.wants(ctx) {
		return s.inner.Get(ctx, id, key)
	}
	ctx, op := s.beginRead(ctx, telemetry.Get)
	defer op.end()
	value, err := s.inner.Get(ctx, id, key)
	op.done(found(value != nil), uncounted, err)
	return value, err
}

// GetSize is the inner storage's, with a span that counts the keys.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	if !s.wants(ctx) {
		return s.inner.GetSize(ctx, id)
	}
	ctx, op := s.beginRead(ctx, telemetry.GetSize)
	defer op.end()
	size, err := s.inner.GetSize(ctx, id)
	op.done(found(size > 0), size, err)
	return size, err
}

// Data is the inner storage's, with a span that counts the keys.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	if !s.wants(ctx) {
		return s.inner.Data(ctx, id)
	}
	ctx, op := s.beginRead(ctx, telemetry.Data)
	defer op.end()
	data, err := s.inner.Data(ctx, id)
	op.done(found(len(data) > 0), len(data), err)
	return data, err
}

// Set is the inner storage's, with a span.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if !s.wants(ctx) {
		return s.inner.Set(ctx, id, key, value, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.Set)
	defer op.end()
	err := s.inner.Set(ctx, id, key, value, ttl)
	op.done(telemetry.OK, 1, err)
	return err
}

// SetMap is the inner storage's, with a span that counts the keys.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if !s.wants(ctx) {
		return s.inner.SetMap(ctx, id, data, ttl)
	}
	ctx, op := s.begin(ctx, telemetry.SetMap)
	defer op.end()
	err := s.inner.SetMap(ctx, id, data, ttl)
	op.done(telemetry.OK, len(data), err)
	return err
}

// Remove is the inner storage's, with a span.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	if !s.wants(ctx) {
		return s.inner.Remove(ctx, id, key)
	}
	ctx, op := s.begin(ctx, telemetry.Remove)
	defer op.end()
	err := s.inner.Remove(ctx, id, key)
	op.done(telemetry.OK, 1, err)
	return err
}
