package local_test

import (
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
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

// BenchmarkAnnouncement is what one costs of a session that this node doesn't hold: at
// 100,000 a second, a quarter of a core is 2,500 ns each.
func BenchmarkAnnouncement(b *testing.B) {
	from := &source{}
	l := local.New(teststore.New(), local.Invalidation(from))
	defer l.Close(ctx)
	from.confirm(time.Hour)
	ids := make([]string, 1<<16)
	for n := range ids {
		ids[n] = fmt.Sprint("session-of-another-node-", n)
	}
	listener := from.tell()
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		listener.Changed(ids[n%len(ids)])
	}
}

// BenchmarkHitInAStorm is what 100,000 announcements a second of other sessions do to a
// hit, beside the same in quiet.
func BenchmarkHitInAStorm(b *testing.B) {
	s, from := teststore.New(), &source{}
	l := local.New(s, local.Invalidation(from))
	defer l.Close(ctx)
	s.Put("a", map[string]any{"k": 1}, ttl)
	from.confirm(time.Hour)
	hit := func() bool {
		read, err := l.Load(ctx, "a", ttl)
		return err == nil && read.Outcome == tiers.OutcomeHit
	}
	for !hit() {
		runtime.Gosched()
	}
	rounds := min(b.N, 2_000_000)
	began := time.Now()
	for range rounds {
		hit()
	}
	quiet := float64(time.Since(began)) / float64(rounds)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		listener, tick := from.tell(), time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for range 100 {
				n++
				listener.Changed(fmt.Sprint("session-of-another-node-", n%100_000))
			}
		}
	}()
	b.ResetTimer()
	for range b.N {
		hit()
	}
	b.StopTimer()
	close(stop)
	<-stopped
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/quiet, "x-quiet")
}
