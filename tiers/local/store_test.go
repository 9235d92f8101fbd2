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

// store is a snapshot store with the capability, that counts what reaches it and
// does what a test needs of it. mu guards all fields but the hooks, which are set
// before use.
type store struct {
	gsession.StorageBase

	silent   bool                                       // tells no expiry, and no state after a commit
	onLoad   func(ctx context.Context, id string)       // before a load reads
	onLoaded func(id string)                            // after a load has read
	onCommit func(ctx context.Context, id string) error // after a commit has been applied

	mu       sync.Mutex
	sessions map[string]*tiers.Snapshot
	expires  map[string]time.Time
	loads    int
	commits  int
	slides   []time.Duration
}

func newStore() *store {
	return &store{sessions: map[string]*tiers.Snapshot{}, expires: map[string]time.Time{}}
}

var _ tiers.Storage = (*store)(nil)

// put writes behind every tier's back, as another node does.
func (s *store) put(id string, data map[string]any, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = tiers.Adopt(data)
	s.expires[id] = time.Now().Add(life)
}

func (s *store) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

func (s *store) count() (loads, commits, slides int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads, s.commits, len(s.slides)
}

// read is called under mu.
func (s *store) read(id string) *tiers.Snapshot {
	snapshot := s.sessions[id]
	switch at := s.expires[id]; {
	case snapshot == nil || !time.Now().Before(at):
		return nil
	case s.silent:
		return snapshot
	default:
		return snapshot.Expiring(at)
	}
}

func (s *store) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

func (s *store) Load(ctx context.Context, id string, _ time.Duration) (tiers.Read, error) {
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	if s.onLoad != nil {
		s.onLoad(ctx, id)
	}
	s.mu.Lock()
	snapshot := s.read(id)
	s.mu.Unlock()
	if s.onLoaded != nil {
		s.onLoaded(id)
	}
	return tiers.Read{Snapshot: snapshot}, ctx.Err()
}

func (s *store) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	s.mu.Lock()
	s.commits++
	next, err := delta.Apply(s.read(id))
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	s.sessions[id] = tiers.Adopt(next)
	s.expires[id] = time.Now().Add(life)
	snapshot := s.read(id)
	s.mu.Unlock()
	if s.onCommit != nil {
		if err := s.onCommit(ctx, id); err != nil {
			return nil, err
		}
	}
	if s.silent {
		return nil, nil
	}
	return snapshot, nil
}

func (s *store) Slide(_ context.Context, id string, life time.Duration) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slides = append(s.slides, life)
	if s.read(id) == nil || s.silent {
		return time.Time{}, nil
	}
	s.expires[id] = time.Now().Add(life)
	return s.expires[id], nil
}

func (s *store) UpdateTTL(ctx context.Context, id string, life time.Duration) error {
	_, err := s.Slide(ctx, id, life)
	return err
}

func (s *store) RemoveAll(_ context.Context, id string) error {
	s.drop(id)
	return nil
}

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
