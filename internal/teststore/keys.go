package teststore

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// Keys is a direct store that counts the reads which reach it. mu guards all fields.
type Keys struct {
	gsession.StorageBase
	mu       sync.Mutex
	sessions map[string]map[string]any
	asked    int
	slides   int
}

var _ gsession.Storage = (*Keys)(nil)

// NewKeys makes a direct store with the given sessions, which become its own.
func NewKeys(sessions map[string]map[string]any) *Keys {
	if sessions == nil {
		sessions = map[string]map[string]any{}
	}
	return &Keys{sessions: sessions}
}

// SetSession slides the expiry, as UpdateTTL does.
func (k *Keys) SetSession(ctx context.Context, id string, _ *gmap.StrAnyMap, life time.Duration) error {
	return k.UpdateTTL(ctx, id, life)
}

// UpdateTTL counts; sessions don't expire.
func (k *Keys) UpdateTTL(context.Context, string, time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slides++
	return nil
}

// Slides returns how often an expiry was set.
func (k *Keys) Slides() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.slides
}

// Holds returns a copy of what the store has.
func (k *Keys) Holds(id string) map[string]any {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.sessions[id])
}

func (k *Keys) session(id string) map[string]any {
	k.asked++
	return k.sessions[id]
}

func (k *Keys) Get(_ context.Context, id, key string) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session(id)[key], nil
}

func (k *Keys) GetSize(_ context.Context, id string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.session(id)), nil
}

func (k *Keys) Data(_ context.Context, id string) (map[string]any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.session(id)
	if s == nil {
		return nil, nil
	}
	return tiers.Adopt(s).Map(), nil
}

func (k *Keys) Set(ctx context.Context, id, key string, value any, _ time.Duration) error {
	return k.SetMap(ctx, id, map[string]any{key: value}, 0)
}

func (k *Keys) SetMap(_ context.Context, id string, data map[string]any, _ time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sessions[id] == nil {
		k.sessions[id] = map[string]any{}
	}
	for key, value := range data {
		k.sessions[id][key] = value
	}
	return nil
}

func (k *Keys) Remove(_ context.Context, id, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sessions[id], key)
	return nil
}

func (k *Keys) RemoveAll(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sessions, id)
	return nil
}

func (k *Keys) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session(id) == nil {
		return nil, nil
	}
	return gmap.NewStrAnyMap(true), nil
}

// Questions returns how many reads have reached the store.
func (k *Keys) Questions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}
