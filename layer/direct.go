package layer

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/snapshots"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// direct hands out the maps of a chain over a direct store: they are empty, and note only
// which session they stand for, so that RegenerateId finds the data.
type direct struct {
	top  tiers.Storage
	maps *sessionmap.Maps
}

// GetSession hands out a map of the request's own: the store's may be one for all.
func (d direct) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := d.top.GetSession(ctx, id, ttl)
	if err == nil && m != nil && m.Size() == 0 {
		m = d.maps.Empty(id)
	}
	return m, err
}

// SetSession slides the expiry, as such stores do. A map of another session is what
// RegenerateId brings: the bare store would lose its keys, the chain copies them. A
// session that this request has begun itself isn't known by its map, and loses them.
func (d direct) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if from := d.maps.Marked(m); from != "" && from != id {
		if err := d.carry(ctx, from, id, m, ttl); err != nil {
			return err
		}
	}
	return d.top.SetSession(ctx, id, m, ttl)
}

func (d direct) carry(ctx context.Context, from, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if d.maps.Revoked(m) {
		return ErrRevoked
	}
	data, err := d.top.Data(ctx, from)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if err := d.top.SetMap(ctx, id, data, ttl); err != nil {
			return err
		}
	}
	// A log-out on any node may have ended it while it was carried.
	left, err := d.top.Data(ctx, from)
	if err == nil && (d.maps.Revoked(m) || len(data) > 0 && len(left) == 0) {
		err = ErrRevoked
	}
	if err != nil {
		return errors.Join(err, d.top.RemoveAll(context.WithoutCancel(ctx), id))
	}
	d.maps.Mark(m, id)
	return nil
}

// Snapshots presents a direct store, such as GoFrame's StorageRedisHashTable, as one
// that loads and writes whole sessions. That cures its RegenerateId, which loses all
// data, its read-only requests, which never slide the expiry, and its round trip a
// key. It belongs first in a chain, right on the store.
func Snapshots() Decorator {
	return func(inner gsession.Storage) gsession.Storage { return snapshots.New(inner) }
}
