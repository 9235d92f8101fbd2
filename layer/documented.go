package layer

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/value"
)

// DocumentedStorage is the interface that GoFrame's documentation page on session
// storage shows. A storage written after it doesn't compile as a gsession.Storage of
// GoFrame v2.10.2.
type DocumentedStorage interface {
	New(ctx context.Context, ttl time.Duration) (id string, err error)
	Get(ctx context.Context, id string, key string) (value any, err error)
	GetMap(ctx context.Context, id string) (data map[string]any, err error)
	GetSize(ctx context.Context, id string) (size int, err error)
	Set(ctx context.Context, id string, key string, value any, ttl time.Duration) error
	SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error
	Remove(ctx context.Context, id string, key string) error
	RemoveAll(ctx context.Context, id string) error
	GetSession(ctx context.Context, id string, ttl time.Duration, data *gmap.StrAnyMap) (*gmap.StrAnyMap, error)
	SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error
	UpdateTTL(ctx context.Context, id string, ttl time.Duration) error
}

// FromDocumented makes a gsession.Storage of a storage that has the methods which GoFrame's documentation
// page shows. Its GetMap serves Data; its GetSession is given no data, as GoFrame has none to give.
func FromDocumented(s DocumentedStorage) gsession.Storage {
	if value.IsNil(s) {
		panic("strata: layer.FromDocumented needs a storage; pass the one that you wrote")
	}
	return documented{s}
}

// documented embeds what is the same in both interfaces, and overrides the rest.
type documented struct{ DocumentedStorage }

var _ gsession.Storage = documented{}

func (d documented) Data(ctx context.Context, id string) (map[string]any, error) {
	return d.GetMap(ctx, id)
}

func (d documented) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return d.DocumentedStorage.GetSession(ctx, id, ttl, nil)
}
