package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// seeder writes many sessions in pipelines.
func seeder(e Env, put func(ctx context.Context, pipe redis.Pipeliner, id string, data map[string]any) error) func(context.Context, []string, func(string) map[string]any) error {
	return func(ctx context.Context, ids []string, data func(string) map[string]any) error {
		client := redis.NewClient(&redis.Options{Addr: e.Direct})
		defer func() { _ = client.Close() }()
		const batch = 500
		for len(ids) > 0 {
			n := min(batch, len(ids))
			pipe := client.Pipeline()
			for _, id := range ids[:n] {
				if err := put(ctx, pipe, id, data(id)); err != nil {
					return err
				}
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return fmt.Errorf("seeding: %w", err)
			}
			ids = ids[n:]
		}
		return nil
	}
}

// SeedJSON writes sessions as StorageRedis keeps them, with so long to live, or with half
// of the ttl left where they are aged.
func SeedJSON(e Env, ttl time.Duration) func(context.Context, []string, func(string) map[string]any) error {
	if e.Aged {
		ttl = e.TTL / 2
	}
	return seeder(e, func(ctx context.Context, pipe redis.Pipeliner, id string, data map[string]any) error {
		text, err := json.Marshal(data)
		if err != nil {
			return err
		}
		return pipe.Set(ctx, Prefix+id, text, ttl).Err()
	})
}

// seedHashes writes sessions as StorageRedisHashTable keeps them.
func seedHashes(e Env) func(context.Context, []string, func(string) map[string]any) error {
	return seeder(e, func(ctx context.Context, pipe redis.Pipeliner, id string, data map[string]any) error {
		fields := make([]any, 0, 2*len(data))
		for key, value := range data {
			if text, ok := value.(string); ok {
				fields = append(fields, key, text)
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				return err
			}
			fields = append(fields, key, text)
		}
		pipe.HSet(ctx, Prefix+id, fields...)
		return pipe.Expire(ctx, Prefix+id, e.TTL).Err()
	})
}
