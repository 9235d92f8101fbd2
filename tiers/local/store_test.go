package local_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// What GoFrame starts when it is imported runs before the tests and after them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

const ttl = time.Hour

var ctx = context.Background()

// keys is a direct store that counts what reaches it. mu guards all fields.
type keys struct {
	gsession.StorageBase
	mu       sync.Mutex
	sessions map[string]map[string]any
	asked    int
}

func (k *keys) session(id string) map[string]any {
	k.asked++
	return k.sessions[id]
}

func (k *keys) Get(_ context.Context, id, key string) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session(id)[key], nil
}

func (k *keys) GetSize(_ context.Context, id string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.session(id)), nil
}

func (k *keys) Data(_ context.Context, id string) (map[string]any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.session(id)
	if s == nil {
		return nil, nil
	}
	return tiers.Adopt(s).Map(), nil
}

func (k *keys) Set(ctx context.Context, id, key string, value any, _ time.Duration) error {
	return k.SetMap(ctx, id, map[string]any{key: value}, 0)
}

func (k *keys) SetMap(_ context.Context, id string, data map[string]any, _ time.Duration) error {
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

func (k *keys) Remove(_ context.Context, id, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sessions[id], key)
	return nil
}

func (k *keys) RemoveAll(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sessions, id)
	return nil
}

func (k *keys) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session(id) == nil {
		return nil, nil
	}
	return gmap.NewStrAnyMap(true), nil
}

func (k *keys) questions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}
