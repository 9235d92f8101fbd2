package layer_test

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// few is a storage as a program may have one: of gsession's methods it has the four that
// a snapshot store needs, and keeps JSON.
type few struct {
	gsession.StorageBase

	mu   sync.Mutex
	kept map[string][]byte
}

func newFew() *few { return &few{kept: map[string][]byte{}} }

func (s *few) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[id] == nil {
		return nil, nil
	}
	var data map[string]any
	err := json.Unmarshal(s.kept[id], &data)
	return gmap.NewStrAnyMapFrom(data, true), err
}

func (s *few) SetSession(_ context.Context, id string, m *gmap.StrAnyMap, _ time.Duration) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[id], err = json.Marshal(m)
	return err
}

func (s *few) RemoveAll(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, id)
	return nil
}

func (s *few) UpdateTTL(context.Context, string, time.Duration) error { return nil }

// holds is what the store has, nil where it has no session.
func (s *few) holds(id string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[id] == nil {
		return nil
	}
	data := map[string]any{}
	if err := json.Unmarshal(s.kept[id], &data); err != nil {
		panic(err)
	}
	return data
}

// keyed is a direct store as GoFrame's RedisHashTable: all data goes key by key. It
// hands out one map for all sessions.
type keyed struct {
	gsession.StorageBase

	mu     sync.Mutex
	kept   map[string]map[string]any
	shared *gmap.StrAnyMap
	during func() // runs in SetMap, before it writes
}

func newKeyed() *keyed {
	return &keyed{kept: map[string]map[string]any{}, shared: gmap.NewStrAnyMap(true)}
}

func (s *keyed) Get(_ context.Context, id, key string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id][key], nil
}

func (s *keyed) Data(_ context.Context, id string) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kept[id]), nil
}

func (s *keyed) GetSize(_ context.Context, id string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept[id]), nil
}

func (s *keyed) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[id] == nil {
		s.kept[id] = map[string]any{}
	}
	s.kept[id][key] = value
	return nil
}

func (s *keyed) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if s.during != nil {
		s.during()
	}
	for key, value := range data {
		if err := s.Set(ctx, id, key, value, ttl); err != nil {
			return err
		}
	}
	return nil
}

func (s *keyed) Remove(_ context.Context, id, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept[id], key)
	return nil
}

func (s *keyed) RemoveAll(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, id)
	return nil
}

func (s *keyed) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept[id]) == 0 {
		return nil, nil
	}
	return s.shared, nil
}

func (s *keyed) SetSession(context.Context, string, *gmap.StrAnyMap, time.Duration) error {
	return nil
}

func (s *keyed) UpdateTTL(context.Context, string, time.Duration) error { return nil }

// wrapper is a decorator as a stranger writes one, without Unwrap.
type wrapper struct {
	gsession.Storage
	name string
	log  *[]string
	err  error
}

// wrapped makes a stranger's decorator that writes down what it is asked to close
// and to flush.
func wrapped(name string, log *[]string, err error) func(gsession.Storage) gsession.Storage {
	return func(inner gsession.Storage) gsession.Storage { return &wrapper{inner, name, log, err} }
}

func (w *wrapper) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if w.log != nil {
		*w.log = append(*w.log, w.name+" GetSession")
	}
	return w.Storage.GetSession(ctx, id, ttl)
}

func (w *wrapper) Flush(context.Context) error {
	if w.log != nil {
		*w.log = append(*w.log, w.name+" Flush")
	}
	return w.err
}

func (w *wrapper) Close(context.Context) error {
	if w.log != nil {
		*w.log = append(*w.log, w.name+" Close")
	}
	return w.err
}
