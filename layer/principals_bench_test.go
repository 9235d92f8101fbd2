package layer_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
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

// BenchmarkEndAll ends 100 sessions of a principal beside 10,000 of others, and counts what Redis is
// sent: by the index, and as one does without: SCAN over all sessions, and a look at each.
func BenchmarkEndAll(b *testing.B) {
	const of, others, pages = 100, 10_000, 1_000
	ctx := context.Background()
	// Each way has a server of its own: what the one leaves behind, the other would read.
	set := func(b *testing.B) (*layer.Stack, *counted, redis.UniversalClient, func()) {
		server := redistest.Start(b)
		chain, count := countedChain(b, server, "p:", layer.Coalesced(), layer.Local(), layer.Indexed(userOf))
		client := server.Client()
		for n := range others {
			if err := client.Set(ctx, fmt.Sprintf("p:other-%d-0123456789", n), `{"user":"bob"}`, time.Hour).Err(); err != nil {
				b.Fatal(err)
			}
		}
		return chain, count, client, func() {
			for range of {
				device{chain, gsession.NewSessionId()}.logIn(b, "alice")
			}
		}
	}
	b.Run("index", func(b *testing.B) {
		chain, count, _, logIn := set(b)
		users := layer.Principals(chain)
		b.ResetTimer()
		for range b.N {
			b.StopTimer()
			logIn()
			b.StartTimer()
			commands, trips := count.during(func() {
				if n, err := users.RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); n != of || err != nil {
					b.Fatal(n, err)
				}
			})
			b.ReportMetric(float64(len(commands)), "commands")
			b.ReportMetric(float64(trips), "trips")
		}
	})
	b.Run("scan", func(b *testing.B) {
		_, _, client, logIn := set(b)
		b.ResetTimer()
		for range b.N {
			b.StopTimer()
			logIn()
			b.StartTimer()
			sent, read, ended := 0, 0, 0
			for cursor := uint64(0); ; {
				keys, next, err := client.Scan(ctx, cursor, "p:*", pages).Result()
				if err != nil {
					b.Fatal(err)
				}
				var found []string
				for n, value := range client.MGet(ctx, keys...).Val() {
					if text, ok := value.(string); ok && strings.Contains(text, `"alice"`) {
						found = append(found, keys[n])
					}
				}
				sent, read = sent+2, read+len(keys)
				if len(found) > 0 {
					sent, ended = sent+1, ended+int(client.Del(ctx, found...).Val())
				}
				if cursor = next; cursor == 0 {
					break
				}
			}
			if ended < of {
				b.Fatal(ended)
			}
			b.ReportMetric(float64(sent), "trips")
			b.ReportMetric(float64(read), "sessions-read")
		}
	})
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
