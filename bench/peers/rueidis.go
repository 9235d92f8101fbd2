package peers

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/rueidis"
)

func rueidisCache() Subject {
	return Subject{Name: "rueidis DoCache", Isolated: true, Redis: true, Memory: true, HTTP: true,
		Setup: "rueidis v1.0.79, DoCache in its default opt-in mode, CacheSizeEachConn as the other caches' bound, " +
			"behind a storage by hand: the JSON decode and the map of StorageRedis.",
		Open: func(e Env) (Node, error) {
			client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.Addr}, CacheSizeEachConn: int(e.CacheBytes)})
			if err != nil {
				return nil, err
			}
			var misses atomic.Int64
			s := NewByHand(
				func(ctx context.Context, id string) (*gmap.StrAnyMap, error) {
					result := client.DoCache(ctx, client.B().Get().Key(Prefix+id).Cache(), e.TTL)
					if !result.IsCacheHit() {
						misses.Add(1)
					}
					text, err := result.AsBytes()
					if rueidis.IsRedisNil(err) {
						return nil, nil
					}
					if err != nil {
						return nil, err
					}
					return DecodeMap(text)
				},
				func(ctx context.Context, id string, text []byte, _ map[string]any, ttl time.Duration) error {
					return client.Do(ctx, client.B().Set().Key(Prefix+id).Value(rueidis.BinaryString(text)).Ex(ttl).Build()).Error()
				},
				func(ctx context.Context, id string) error {
					return client.Do(ctx, client.B().Del().Key(Prefix+id).Build()).Error()
				},
				func(ctx context.Context, id string, ttl time.Duration) error {
					return client.Do(ctx, client.B().Expire().Key(Prefix+id).Seconds(int64(ttl.Seconds())).Build()).Error()
				})
			return s.Node(e, misses.Load, func() error { client.Close(); return nil }), nil
		}}
}
