package peers

import (
	"context"
	"maps"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// floor hands out a copy of the one session that it holds.
type floor struct {
	gsession.StorageBase
	data map[string]any
}

func (f *floor) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return gmap.NewStrAnyMapFrom(maps.Clone(f.data), true), nil
}

func cloneFloor() Subject {
	return Subject{Name: "maps.Clone + gmap", Floor: true, Memory: true,
		Setup: "No storage: the least that handing out a copy costs, maps.Clone and a gmap around it.",
		Open: func(e Env) (Node, error) {
			f := &floor{}
			n := newNode(f, e.TTL)
			n.seed = func(_ context.Context, ids []string, data func(string) map[string]any) error {
				f.data = data(ids[len(ids)-1])
				return nil
			}
			return n, nil
		}}
}
