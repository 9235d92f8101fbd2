package local_test

import (
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers/local"
)

func tenKeys() map[string]any {
	data := map[string]any{}
	for n := range 10 {
		data[fmt.Sprint("key", n)] = fmt.Sprint("value ", n)
	}
	return data
}

// sink keeps results on the heap, where a request has them.
var sink *gmap.StrAnyMap

// BenchmarkGetSessionHit hands out a session of ten short keys from memory, beside
// the least that such a copy can cost: maps.Clone and a gmap around it.
func BenchmarkGetSessionHit(b *testing.B) {
	s := teststore.New()
	l := local.New(s, local.Exclusive())
	defer l.Close(ctx)
	const id = "0123456789abcdef0123456789abcdef"
	s.Put(id, tenKeys(), ttl)
	l.Load(ctx, id, ttl)

	// A heap as of a real process, or the collector runs as if it had nothing else.
	ballast := make([]map[string]any, 50_000)
	for n := range ballast {
		ballast[n] = tenKeys()
	}
	defer runtime.KeepAlive(ballast)

	data := tenKeys()
	began := time.Now()
	for range b.N {
		sink = gmap.NewStrAnyMapFrom(maps.Clone(data), true)
	}
	floor := time.Since(began)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		sink, _ = l.GetSession(ctx, id, ttl)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(floor), "x-clone+gmap")
}

// BenchmarkLoadHit is the tier alone, without the copy.
func BenchmarkLoadHit(b *testing.B) {
	s := teststore.New()
	l := local.New(s, local.Exclusive())
	defer l.Close(ctx)
	const id = "0123456789abcdef0123456789abcdef"
	s.Put(id, tenKeys(), ttl)
	l.Load(ctx, id, ttl)
	b.ReportAllocs()
	for b.Loop() {
		l.Load(ctx, id, ttl)
	}
}
