package layer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// readRequest reads two of ten keys, as a request does.
func readRequest(sessions *gsession.Manager) {
	request := sessions.New(context.Background(), "a-session-of-ten-keys")
	request.MustGet("key3")
	request.MustGet("key7")
	_ = request.Close()
}

func fill(sessions *gsession.Manager) {
	request := sessions.New(context.Background(), "a-session-of-ten-keys")
	for n := range 10 {
		request.MustSet(fmt.Sprint("key", n), fmt.Sprint("value ", n))
	}
	_ = request.Close()
}

// ratio times the same request on a peer and on a chain, in one run.
func ratio(b *testing.B, peer, chain gsession.Storage, request func(*gsession.Manager), unit string) {
	theirs, ours := gsession.New(time.Hour, peer), gsession.New(time.Hour, chain)
	fill(theirs)
	fill(ours)
	request(theirs)
	request(ours)
	rounds := min(b.N, 20_000) // the peer may be a hundred times slower
	began := time.Now()
	for range rounds {
		request(theirs)
	}
	perRequest := float64(time.Since(began)) / float64(rounds)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		request(ours)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/perRequest, unit)
}

func fullChain(b *testing.B, server *redistest.Server) gsession.Storage {
	own := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	chain := layer.Chain(redisstore.New(own, redisstore.Prefix("strata:")), layer.Coalesced(), layer.Local(), layer.Traced())
	b.Cleanup(func() {
		_ = chain.Close(context.Background())
		_ = own.Close()
	})
	return chain
}

// A read served from memory by the full chain, beside StorageMemory, which shares its
// maps between requests.
func BenchmarkReadBesideStorageMemory(b *testing.B) {
	ratio(b, gsession.NewStorageMemory(), fullChain(b, redistest.Start(b)), readRequest, "x-StorageMemory")
}

func BenchmarkReadBesideStorageRedis(b *testing.B) {
	server := redistest.Start(b)
	ratio(b, gsession.NewStorageRedis(server.GoFrame(b), "bare:"), fullChain(b, server), readRequest, "x-StorageRedis")
}

// A request that changes one key.
func BenchmarkWriteBesideStorageRedis(b *testing.B) {
	server := redistest.Start(b)
	n := 0
	ratio(b, gsession.NewStorageRedis(server.GoFrame(b), "bare:"), fullChain(b, server), func(sessions *gsession.Manager) {
		request := sessions.New(context.Background(), "a-session-of-ten-keys")
		n++
		request.MustSet("key5", n)
		_ = request.Close()
	}, "x-StorageRedis")
}
