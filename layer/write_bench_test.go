package layer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// calls counts the commands that clients have sent, not those of scripts.
func calls(b *testing.B, client *redis.Client) (n float64) {
	b.Helper()
	info, err := client.InfoMap(context.Background(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	stats, scripts := info["Commandstats"], 0.0
	count := func(stat string) (n float64) {
		_, _ = fmt.Sscanf(stat, "calls=%f", &n)
		return n
	}
	for command, stat := range stats {
		switch {
		case strings.HasPrefix(command, "cmdstat_eval"):
			scripts += count(stat)
			n += count(stat)
		case command == "cmdstat_info", strings.HasPrefix(command, "cmdstat_client"), command == "cmdstat_hello":
		default:
			n += count(stat)
		}
	}
	// A script reads and writes: two commands that no client has sent.
	return n - 2*scripts
}

// dirty has 32 users, four of each of eight sessions, change a key in every request.
func dirty(sessions *gsession.Manager, requests int) {
	var (
		group sync.WaitGroup
		next  atomic.Int64
	)
	for user := range 32 {
		group.Go(func() {
			for n := next.Add(1); n <= int64(requests); n = next.Add(1) {
				request := sessions.New(context.Background(), fmt.Sprint("session-of-ten-keys-", user%8))
				request.MustGet("key3")
				request.MustSet(fmt.Sprint("key", user), n)
				_ = request.Close()
			}
		})
	}
	group.Wait()
}

// BenchmarkDirtyRequests measures requests that change their session, where requests of one session
// overlap: commands that reach Redis, and time beside GoFrame's
// bare StorageRedis in the same run, which loses what overlaps.
func BenchmarkDirtyRequests(b *testing.B) {
	for name, opts := range map[string][]layer.CoalescedOption{
		"synchronous": nil,
		"behind":      {layer.WriteBehind(100 * time.Millisecond)},
	} {
		b.Run(name, func(b *testing.B) {
			server := redistest.Start(b)
			client := server.Client()
			chain := layer.Chain(redisstore.New(redis.NewClient(&redis.Options{Addr: server.Addr()}), redisstore.Prefix("strata:")),
				layer.Coalesced(opts...), layer.Local(), layer.Traced())
			theirs := gsession.New(time.Hour, gsession.NewStorageRedis(server.GoFrame(b), "bare:"))
			ours := gsession.New(time.Hour, chain)
			dirty(theirs, 100)
			dirty(ours, 100)

			rounds := min(b.N, 20_000)
			before, began := calls(b, client), time.Now()
			dirty(theirs, rounds)
			perRequest := float64(time.Since(began)) / float64(rounds)
			bare := (calls(b, client) - before) / float64(rounds)

			before = calls(b, client)
			b.ResetTimer()
			dirty(ours, b.N)
			b.StopTimer()
			elapsed := b.Elapsed()
			if err := chain.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric((calls(b, client)-before)/float64(b.N), "calls/request")
			b.ReportMetric(bare, "bare-calls/request")
			b.ReportMetric(float64(elapsed)/float64(b.N)/perRequest, "x-StorageRedis")
		})
	}
}
