// Package snapshots presents a direct store as a snapshot store.
package snapshots

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// Storage loads a direct store's session whole and commits what a request changed,
// which cures three things of GoFrame's RedisHashTable: RegenerateId keeps the data,
// read-only requests slide the expiry, and a request costs one read, not one a key.
// Values keep the types that the store returns, strings there.
//
// A commit merges under a lock per id of this process, key by key: another process
// may see half of it, and a log-out of another process that falls between its read
// and its writes leaves the keys that the request changed. A store that keeps
// snapshots already is passed through. Safe for concurrent use; all fields are set by
// New and guard themselves.
type Storage struct {
	tiers.Base
	given gsession.Storage // as New got it, for Unwrap
	maps  *sessionmap.Maps
	locks sessionmap.Locks
}

var _ tiers.Storage = (*Storage)(nil)

// New presents a direct store as a snapshot store. It belongs right on the store.
func New(inner gsession.Storage) *Storage {
	s := &Storage{Base: tiers.Base{Storage: sessionmap.Adapt(inner)}, given: inner}
	s.maps = sessionmap.New(s)
	return s
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.given }

// Style is Snapshot, unless the store mixes the styles.
func (s *Storage) Style(ctx context.Context) tiers.Style {
	if s.Storage.Style(ctx) == tiers.StyleOpaque {
		return tiers.StyleOpaque
	}
	return tiers.StyleSnapshot
}

func (s *Storage) direct(ctx context.Context) bool {
	return s.Storage.Style(ctx) == tiers.StyleDirect
}

// Commit writes the keys that the request changed, then the expiry. The
// snapshot isn't known: the store may have changed the values' types.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if !s.direct(ctx) {
		return s.Storage.Commit(ctx, id, delta, ttl)
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return nil, tiers.NotApplied(err)
	}
	defer unlock()
	read, err := s.Storage.Load(ctx, id, ttl)
	if err != nil {
		return nil, tiers.NotApplied(err)
	}
	set, removed, conflict := delta.Changes(read.Snapshot)
	// A conditional change that is in the store may lack its expiry, also where it looks like another one's: the store has
	// a form of its own of a value such as true.
	mayBeDone := delta.IsConditional() && read.Snapshot != nil && !errors.Is(conflict, tiers.ErrRevoked)
	if set == nil && !mayBeDone {
		return nil, conflict
	}
	if len(set) > 0 {
		if err := s.Storage.SetMap(ctx, id, set, ttl); err != nil {
			return nil, err
		}
	}
	for _, key := range removed {
		if err := s.Storage.Remove(ctx, id, key); err != nil {
			return nil, failure.PartlyApplied(err)
		}
	}
	if err := s.Storage.SetSession(ctx, id, gmap.NewStrAnyMap(true), ttl); err != nil {
		return nil, failure.PartlyApplied(err)
	}
	return nil, conflict
}

// RemoveAll waits for a commit of the id that is under way.
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.Storage.RemoveAll(ctx, id); err != nil {
		return err
	}
	s.maps.Removed(id)
	return nil
}

// GetSession hands out a copy of the session.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.GetSession(ctx, id, ttl)
	}
	return s.maps.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since it was handed out.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.SetSession(ctx, id, data, ttl)
	}
	return s.maps.SetSession(ctx, id, data, ttl)
}

// Get is disabled as in every snapshot store, and so are the per-key calls below: a
// Session then reads and writes its map.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.Get(ctx, id, key)
	}
	return nil, gsession.ErrorDisabled
}

// Data is disabled.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.Data(ctx, id)
	}
	return nil, gsession.ErrorDisabled
}

// GetSize is disabled.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.GetSize(ctx, id)
	}
	return 0, gsession.ErrorDisabled
}

// Set is disabled.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.Set(ctx, id, key, value, ttl)
	}
	return gsession.ErrorDisabled
}

// SetMap is disabled.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.SetMap(ctx, id, data, ttl)
	}
	return gsession.ErrorDisabled
}

// Remove is disabled.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	if s.Style(ctx) == tiers.StyleOpaque {
		return s.Storage.Remove(ctx, id, key)
	}
	return gsession.ErrorDisabled
}
