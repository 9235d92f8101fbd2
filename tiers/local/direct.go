package local

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// GetSession returns a copy of the session. A direct store's calls are passed on, and so are the per-key calls
// below: layer.Snapshots makes such a store one of whole sessions.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.face.GetSession(ctx, id, ttl)
	}
	return s.inner.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed if the store keeps snapshots, and is passed
// on elsewhere.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return s.face.SetSession(ctx, id, data, ttl)
	}
	defer s.order.invalidate(s.memory.guard.Hash(id), telemetry.InvalidatedByWrite)
	return s.inner.SetSession(ctx, id, data, ttl)
}

// Get calls the storage below.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	return s.inner.Get(ctx, id, key)
}

// Data calls the storage below.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	return s.inner.Data(ctx, id)
}

// GetSize calls the storage below.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	return s.inner.GetSize(ctx, id)
}

// Set writes below and invalidates the session in memory, whatever the outcome; SetMap and Remove
// do the same. GoFrame tries this first over a snapshot store, which returns ErrorDisabled.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) (err error) {
	defer func() { s.wroteKeys(id, err) }()
	return s.inner.Set(ctx, id, key, value, ttl)
}

// SetMap writes several keys.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) (err error) {
	defer func() { s.wroteKeys(id, err) }()
	return s.inner.SetMap(ctx, id, data, ttl)
}

// Remove removes one key.
func (s *Storage) Remove(ctx context.Context, id, key string) (err error) {
	defer func() { s.wroteKeys(id, err) }()
	return s.inner.Remove(ctx, id, key)
}

// wroteKeys invalidates a session that a call may have written; a store with ErrorDisabled
// has written nothing.
func (s *Storage) wroteKeys(id string, err error) {
	if err == nil || !errors.Is(err, gsession.ErrorDisabled) {
		s.order.invalidate(s.memory.guard.Hash(id), telemetry.InvalidatedByWrite)
	}
}

// New asks the storage below for an id.
func (s *Storage) New(ctx context.Context, ttl time.Duration) (string, error) {
	return s.inner.New(ctx, ttl)
}
