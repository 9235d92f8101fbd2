package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// ByHand is a gsession.Storage as people write it themselves over a cache: the whole
// session as JSON under one key, as StorageRedis keeps it. Its fields are set by
// NewByHand; mu guards slides.
type ByHand struct {
	gsession.StorageBase
	get    func(ctx context.Context, id string) (*gmap.StrAnyMap, error)
	set    func(ctx context.Context, id string, text []byte, data map[string]any, ttl time.Duration) error
	remove func(ctx context.Context, id string) error
	expire func(ctx context.Context, id string, ttl time.Duration) error

	mu     sync.Mutex
	slides map[string]time.Duration
	stop   chan struct{}
	done   chan struct{}
}

// NewByHand makes a storage of four functions. As StorageRedis does, it slides expiries
// every 10 s: one EXPIRE a request would invalidate every client-side cache.
func NewByHand(
	get func(ctx context.Context, id string) (*gmap.StrAnyMap, error),
	set func(ctx context.Context, id string, text []byte, data map[string]any, ttl time.Duration) error,
	remove func(ctx context.Context, id string) error,
	expire func(ctx context.Context, id string, ttl time.Duration) error,
) *ByHand {
	s := &ByHand{get: get, set: set, remove: remove, expire: expire, slides: map[string]time.Duration{},
		stop: make(chan struct{}), done: make(chan struct{})}
	go s.slide()
	return s
}

// Node makes it a subject that runs; close is called from last to first, after its own.
func (s *ByHand) Node(e Env, close ...func() error) Node {
	n := newNode(s, e.TTL, append(close, s.Close)...)
	n.seed = SeedJSON(e, e.TTL)
	return n
}

// Close ends the sliding.
func (s *ByHand) Close() error {
	close(s.stop)
	<-s.done
	return nil
}

func (s *ByHand) slide() {
	defer close(s.done)
	tick := time.NewTicker(gsession.DefaultStorageRedisLoopInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		slides := s.slides
		s.slides = map[string]time.Duration{}
		s.mu.Unlock()
		for id, ttl := range slides {
			select {
			case <-s.stop:
				return
			default:
				_ = s.expire(context.Background(), id, ttl)
			}
		}
	}
}

// GetSession answers nil where there is no session.
func (s *ByHand) GetSession(ctx context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	return s.get(ctx, id)
}

// SetSession writes the whole session.
func (s *ByHand) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	values := data.MapCopy()
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return s.set(ctx, id, text, values, ttl)
}

// RemoveAll removes the session.
func (s *ByHand) RemoveAll(ctx context.Context, id string) error { return s.remove(ctx, id) }

// UpdateTTL slides the expiry within 10 s.
func (s *ByHand) UpdateTTL(_ context.Context, id string, ttl time.Duration) error {
	s.mu.Lock()
	s.slides[id] = ttl
	s.mu.Unlock()
	return nil
}

// Decode is what StorageRedis makes of the bytes; nil where there is nothing.
func Decode(text []byte) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var data map[string]any
	err := decoder.Decode(&data)
	return data, err
}

// DecodeMap is Decode as a request's map.
func DecodeMap(text []byte) (*gmap.StrAnyMap, error) {
	data, err := Decode(text)
	if data == nil || err != nil {
		return nil, err
	}
	return gmap.NewStrAnyMapFrom(data, true), nil
}
