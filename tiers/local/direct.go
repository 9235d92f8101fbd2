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

// GetSession returns a copy of the session if the store keeps snapshots. If the store is
// direct, it isn't asked whether a session exists that is in memory.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	switch s.Style(ctx) {
	case tiers.StyleSnapshot:
		return s.face.GetSession(ctx, id, ttl)
	case tiers.StyleDirect:
		if s.plainMaps.Load() {
			snapshot, err := s.session(ctx, id)
			if err != nil {
				return nil, err
			}
			if snapshot != nil {
				return gmap.NewStrAnyMap(true), nil
			}
		}
		m, err := s.inner.GetSession(ctx, id, ttl)
		if err == nil && m != nil && m.Size() == 0 {
			s.plainMaps.Store(true)
		}
		return m, err
	default:
		return s.inner.GetSession(ctx, id, ttl)
	}
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

// session returns the whole of a direct store's session, from memory if it is
// current. It is nil if there is none, or if the store can't be cached.
func (s *Storage) session(ctx context.Context, id string) (*tiers.Snapshot, error) {
	if s.Style(ctx) != tiers.StyleDirect {
		return nil, nil
	}
	read, err := s.Load(ctx, id, 0)
	return read.Snapshot, err
}

// Get returns one value of a direct store's session from memory. If memory has no
// session, it calls the storage below, as the next methods do.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	snapshot, err := s.session(ctx, id)
	if err != nil {
		return nil, err
	}
	if snapshot == nil {
		return s.inner.Get(ctx, id, key)
	}
	return snapshot.Get(key), nil
}

// Data returns all values of a direct store's session from memory.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	snapshot, err := s.session(ctx, id)
	if err != nil {
		return nil, err
	}
	if snapshot == nil {
		return s.inner.Data(ctx, id)
	}
	return snapshot.Map(), nil
}

// GetSize counts the keys of a direct store's session in memory.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	snapshot, err := s.session(ctx, id)
	if err != nil {
		return 0, err
	}
	if snapshot == nil {
		return s.inner.GetSize(ctx, id)
	}
	return snapshot.Len(), nil
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
