package layer_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// BenchmarkIndexMemory measures what Indexed adds to a session in Redis: the record in the session,
// the entry and the principal, for 100,000 principals of one session each.
func BenchmarkIndexMemory(b *testing.B) {
	const sessions = 100_000
	used := func(opts ...layer.Decorator) float64 {
		server, err := redistest.Run()
		if err != nil {
			b.Fatal(err)
		}
		defer server.Close()
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
		defer func() { _ = client.Close() }()
		store := redisstore.New(client, redisstore.Prefix(redisstore.DefaultPrefix))
		chain := layer.Chain(store, opts...)
		ctx := context.Background()
		// The script cache and the connection are there before.
		if err := (device{chain, "first-0123456789"}).set("user", "first"); err != nil {
			b.Fatal(err)
		}
		before := memoryOf(b, client)
		for n := range sessions {
			id, err := chain.New(ctx, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := (device{chain, id}).set("user", fmt.Sprintf("user-%06d", n)); err != nil {
				b.Fatal(err)
			}
		}
		after := memoryOf(b, client)
		if err := chain.Close(ctx); err != nil {
			b.Fatal(err)
		}
		return float64(after-before) / sessions
	}
	for range b.N {
		bare := used()
		indexed := used(layer.Indexed(userOf))
		b.ReportMetric(bare, "B/session-bare")
		b.ReportMetric(indexed-bare, "B/session-added")
	}
}

func memoryOf(b *testing.B, client redis.UniversalClient) int {
	info, err := client.Info(context.Background(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no used_memory")
	return 0
}
