package layer

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/tiers"
)

// direct is the face of a chain over a direct store: its maps are empty, and tell
// only which session they stand for, so that RegenerateId finds the data.
type direct struct {
	top  tiers.Storage
	face *tiers.Face
}

func (d direct) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := d.top.GetSession(ctx, id, ttl)
	if err == nil && m != nil {
		d.face.Mark(m, id)
	}
	return m, err
}

// SetSession slides the expiry, as such stores do. A map of another session is what
// RegenerateId brings: the bare store would lose its keys, the chain copies them.
func (d direct) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if from := d.face.Marked(m); from != "" && from != id {
		data, err := d.top.Data(ctx, from)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			if err := d.top.SetMap(ctx, id, data, ttl); err != nil {
				return err
			}
		}
		d.face.Mark(m, id)
	}
	return d.top.SetSession(ctx, id, m, ttl)
}
