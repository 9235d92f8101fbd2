package sessionmap

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// decorated is a decorator of the capability as a gsession.Storage: a layer above that knows maps
// only gets those that the decorator's own Load and Commit make. Safe for concurrent use.
type decorated struct {
	tiers.Base
	maps *Maps
}

// Decorate makes a gsession.Storage of a decorator that f makes.
func Decorate(inner gsession.Storage, f func(below tiers.Storage) tiers.Storage) gsession.Storage {
	below := Adapt(inner)
	outer := f(below)
	if outer == nil {
		return nil
	}
	d := &decorated{Base: tiers.Base{Storage: outer}}
	d.maps = New(d)
	return d
}

// GetSession is a Load over a store of snapshots.
func (d *decorated) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if d.Style(ctx) != tiers.StyleSnapshot {
		return d.Storage.GetSession(ctx, id, ttl)
	}
	return d.maps.GetSession(ctx, id, ttl)
}

// SetSession is a Commit over a store of snapshots.
func (d *decorated) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if d.Style(ctx) != tiers.StyleSnapshot {
		return d.Storage.SetSession(ctx, id, m, ttl)
	}
	return d.maps.SetSession(ctx, id, m, ttl)
}

// RemoveAll ends the maps that were handed out here.
func (d *decorated) RemoveAll(ctx context.Context, id string) error {
	err := d.Storage.RemoveAll(ctx, id)
	if err == nil {
		d.maps.Removed(id)
	}
	return err
}

// Flush is the decorator's own, if it has one.
func (d *decorated) Flush(ctx context.Context) error {
	if own, ok := d.Storage.(interface{ Flush(context.Context) error }); ok {
		return own.Flush(ctx)
	}
	return nil
}

// Close is the decorator's own, if it has one.
func (d *decorated) Close(ctx context.Context) error {
	if own, ok := d.Storage.(interface{ Close(context.Context) error }); ok {
		return own.Close(ctx)
	}
	return nil
}

// MayClose is the decorator's own, if it has one.
func (d *decorated) MayClose() error {
	if own, ok := d.Storage.(interface{ MayClose() error }); ok {
		return own.MayClose()
	}
	return nil
}
