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
// NewByHand; mu guards slid.
type ByHand struct {
	gsession.StorageBase
	get    func(ctx context.Context, id string) (*gmap.StrAnyMap, error)
	set    func(ctx context.Context, id string, text []byte, data map[string]any, ttl time.Duration) error
	remove func(ctx context.Context, id string) error
	expire func(ctx context.Context, id string, ttl time.Duration) error

	mu   sync.Mutex
	slid map[string]int64 // when this node has set an expiry, in Unix nanoseconds
}

// NewByHand makes a storage of four functions. It sets a tenth more than the ttl, and
// slides an expiry when that tenth is used up, as Strata does: one EXPIRE a request would
// invalidate every client-side cache.
func NewByHand(
	get func(ctx context.Context, id string) (*gmap.StrAnyMap, error),
	set func(ctx context.Context, id string, text []byte, data map[string]any, ttl time.Duration) error,
	remove func(ctx context.Context, id string) error,
	expire func(ctx context.Context, id string, ttl time.Duration) error,
) *ByHand {
	return &ByHand{get: get, set: set, remove: remove, expire: expire, slid: map[string]int64{}}
}

// Node makes it a subject that runs, with a count of what its cache didn't hold; close is
// called from last to first.
func (s *ByHand) Node(e Env, misses func() int64, close ...func() error) Node {
	n := newNode(s, e.TTL, close...)
	n.misses = misses
	n.seed = func(ctx context.Context, ids []string, data func(string) map[string]any) error {
		if !e.Aged {
			for _, id := range ids { // as if this node had written them
				s.due(id, 0)
			}
		}
		return SeedJSON(e, WrittenTTL)(ctx, ids, data)
	}
	return n
}

// due reports whether the tenth of a ttl is used up, and takes note that it is set now.
func (s *ByHand) due(id string, ttl time.Duration) bool {
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.slid[id]; ok && now-last < int64(ttl/10) {
		return false
	}
	s.slid[id] = now
	return true
}

// GetSession returns nil if there is no session.
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
	s.due(id, 0)
	return s.set(ctx, id, text, values, ttl+ttl/10)
}

// RemoveAll removes the session.
func (s *ByHand) RemoveAll(ctx context.Context, id string) error { return s.remove(ctx, id) }

// UpdateTTL slides the expiry where that is due.
func (s *ByHand) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if !s.due(id, ttl) {
		return nil
	}
	return s.expire(ctx, id, ttl+ttl/10)
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
