package peers

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"
)

// cache is what a cache by hand needs of one.
type cache struct {
	get   func(id string) (map[string]any, bool)
	set   func(id string, data map[string]any, bytes int)
	del   func(id string)
	close func() error
}

func byHandRistretto() Subject {
	return Subject{Name: "ristretto + TTL by hand", Redis: true, Memory: true, HTTP: true,
		Setup: "ristretto v2.4.2 (NumCounters ten times the entries, MaxCost in bytes of JSON, BufferItems 64) with a TTL " +
			"before Redis; the decoded map is kept, and each request gets maps.Clone of it. Writes go to Redis, then to the cache.",
		Open: func(e Env) (Node, error) {
			c, err := ristretto.NewCache(&ristretto.Config[string, map[string]any]{
				NumCounters: 10 * int64(e.CacheEntries), MaxCost: e.CacheBytes, BufferItems: 64})
			if err != nil {
				return nil, err
			}
			return openHandCache(e, cache{
				get: c.Get,
				set: func(id string, data map[string]any, bytes int) {
					c.SetWithTTL(id, data, int64(bytes), e.CacheTTL)
				},
				del:   c.Del,
				close: func() error { c.Close(); return nil },
			}), nil
		}}
}

func byHandOtter() Subject {
	return Subject{Name: "otter + TTL by hand", Redis: true, Memory: true, HTTP: true,
		Setup: "otter v2.3.0 in ristretto's place (MaximumSize, ExpiryWriting), and nothing else changed: " +
			"what the choice of the cache costs.",
		Open: func(e Env) (Node, error) {
			c, err := otter.New(&otter.Options[string, map[string]any]{MaximumSize: e.CacheEntries,
				ExpiryCalculator: otter.ExpiryWriting[string, map[string]any](e.CacheTTL)})
			if err != nil {
				return nil, err
			}
			return openHandCache(e, cache{
				get:   c.GetIfPresent,
				set:   func(id string, data map[string]any, _ int) { c.Set(id, data) },
				del:   func(id string) { c.Invalidate(id) },
				close: func() error { c.StopAllGoroutines(); return nil },
			}), nil
		}}
}

// openHandCache puts a cache before Redis.
func openHandCache(e Env, c cache) Node {
	client := redis.NewClient(&redis.Options{Addr: e.Addr, PoolSize: PoolSize})
	var misses atomic.Int64
	s := NewByHand(
		func(ctx context.Context, id string) (*gmap.StrAnyMap, error) {
			data, ok := c.get(id)
			if !ok {
				misses.Add(1)
				text, err := client.Get(ctx, Prefix+id).Bytes()
				if err == redis.Nil {
					return nil, nil
				}
				if err != nil {
					return nil, err
				}
				if data, err = Decode(text); err != nil || data == nil {
					return nil, err
				}
				c.set(id, data, len(text))
			}
			return gmap.NewStrAnyMapFrom(maps.Clone(data), true), nil
		},
		func(ctx context.Context, id string, text []byte, data map[string]any, ttl time.Duration) error {
			if err := client.Set(ctx, Prefix+id, text, ttl).Err(); err != nil {
				return err
			}
			c.set(id, data, len(text))
			return nil
		},
		func(ctx context.Context, id string) error {
			if err := client.Del(ctx, Prefix+id).Err(); err != nil {
				return err
			}
			c.del(id)
			return nil
		},
		func(ctx context.Context, id string, ttl time.Duration) error {
			return client.Expire(ctx, Prefix+id, ttl).Err()
		})
	return s.Node(e, misses.Load, client.Close, c.close)
}
