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

// held is the sessions as they were seeded, and a request of one is a look at its map.
type held struct {
	*node
	sessions map[string]map[string]any
}

type heldRequest map[string]any

func (h *held) Begin(_ context.Context, id string) Request { return heldRequest(h.sessions[id]) }

func (r heldRequest) ID() (string, error)         { return "", nil }
func (r heldRequest) Get(key string) (any, error) { return r[key], nil }
func (r heldRequest) Set(string, any) error       { return nil }
func (r heldRequest) Clear() error                { return nil }
func (r heldRequest) Close() error                { return nil }

func nothing() Subject {
	return Subject{Name: "no session at all", Floor: true, HTTP: true,
		Setup: "No storage: what the bench itself takes. A request looks two keys up in a plain map; of a ghttp server, it touches no session.",
		Open: func(e Env) (Node, error) {
			h := &held{sessions: map[string]map[string]any{}}
			h.node = newNode(gsession.NewStorageMemory(), e.TTL)
			h.seed = func(_ context.Context, ids []string, data func(string) map[string]any) error {
				for _, id := range ids {
					h.sessions[id] = data(id)
				}
				return nil
			}
			return h, nil
		}}
}
