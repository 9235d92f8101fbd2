// Command goredis923 is the bench's subject that needs go-redis v9.23, and so Go 1.26.
// The bench builds it and runs it as a worker; run by hand it does nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/worker"
)

func main() {
	subject := peers.GoRedisCache
	subject.Open = open
	worker.Main([]peers.Subject{subject})
	fmt.Fprintln(os.Stderr, "goredis923 is a part of the bench: go run . in its folder above runs it")
	os.Exit(1)
}

// open puts the storage by hand over the client and its cache.
func open(e peers.Env) (peers.Node, error) {
	client := redis.NewClient(&redis.Options{Addr: e.Addr, Protocol: 3, PoolSize: peers.PoolSize,
		ClientSideCacheConfig: &redis.ClientSideCacheConfig{MaxEntries: e.CacheEntries}})
	s := peers.NewByHand(
		func(ctx context.Context, id string) (*gmap.StrAnyMap, error) {
			text, err := client.Get(ctx, peers.Prefix+id).Bytes()
			if err == redis.Nil {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return peers.DecodeMap(text)
		},
		func(ctx context.Context, id string, text []byte, _ map[string]any, ttl time.Duration) error {
			return client.Set(ctx, peers.Prefix+id, text, ttl).Err()
		},
		func(ctx context.Context, id string) error { return client.Del(ctx, peers.Prefix+id).Err() },
		func(ctx context.Context, id string, ttl time.Duration) error {
			return client.Expire(ctx, peers.Prefix+id, ttl).Err()
		})
	return s.Node(e, func() int64 { return int64(client.CSCStats().Misses) }, client.Close), nil
}
