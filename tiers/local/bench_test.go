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

// BenchmarkGetSessionHit hands out sessions of ten short keys from memory, beside the least
// that such a copy can cost: maps.Clone and a gmap around it, of as many maps, in the same
// heap. With few sessions the collector runs often, so that allocations are what counts;
// all of them are read in turn, and of the many those 1,000 that are in use.
func BenchmarkGetSessionHit(b *testing.B) {
	for _, sessions := range []int{1000, 50_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			s := teststore.New()
			l := local.New(s, local.Exclusive())
			defer l.Close(ctx)
			ids, data := make([]string, sessions), make([]map[string]any, sessions)
			for n := range ids {
				ids[n], data[n] = fmt.Sprintf("%032d", n), tenKeys()
			}
			for n := range ids {
				s.Put(ids[n], data[n], ttl)
				l.Load(ctx, ids[n], ttl)
			}
			const used = 1000
			for _, id := range ids[:used] {
				l.Load(ctx, id, ttl)
			}
			var floor, hit time.Duration
			const turn = 100 // they take turns, so that both see the same machine
			b.ReportAllocs()
			for n := 0; b.Loop(); n += turn {
				began := time.Now()
				for k := n; k < n+turn; k++ {
					sink = gmap.NewStrAnyMapFrom(maps.Clone(data[k%used]), true)
				}
				middle := time.Now()
				for k := n; k < n+turn; k++ {
					sink, _ = l.GetSession(ctx, ids[k%used], ttl)
				}
				floor += middle.Sub(began)
				hit += time.Since(middle)
			}
			b.ReportMetric(float64(hit.Nanoseconds())/float64(b.N*turn), "ns/hit")
			b.ReportMetric(float64(hit)/float64(floor), "x-clone+gmap")
		})
	}
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

// BenchmarkInvalidation is what one costs of a session that this node doesn't hold: at
// 100,000 a second, a quarter of a core is 2,500 ns each.
func BenchmarkInvalidation(b *testing.B) {
	from := &source{}
	l := local.New(teststore.New(), local.Invalidation(from))
	defer l.Close(ctx)
	from.confirm(time.Hour)
	ids := make([]string, 1<<16)
	for n := range ids {
		ids[n] = fmt.Sprint("session-of-another-node-", n)
	}
	listener := from.receiver()
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		listener.Invalidate(ids[n%len(ids)])
	}
}

// BenchmarkHitInAStorm measures hits of 10,000 sessions while 100,000 invalidations a second arrive for
// sessions that this node doesn't hold, beside hits in quiet: their time, how many of the reads are
// hits, and the part of a core that the invalidations take.
func BenchmarkHitInAStorm(b *testing.B) {
	const held, foreign = 10_000, 1_000_000
	s, from := teststore.New(), &source{}
	l := local.New(s, local.Invalidation(from))
	defer l.Close(ctx)
	from.confirm(time.Hour)
	ids := make([]string, held)
	for n := range ids {
		ids[n] = fmt.Sprint("session-of-this-node-", n)
		s.Put(ids[n], map[string]any{"k": n}, ttl)
	}
	round := func() (hits int) {
		for _, id := range ids {
			if read, err := l.Load(ctx, id, ttl); err == nil && read.Outcome == tiers.OutcomeHit {
				hits++
			}
		}
		return hits
	}
	for round() < held*99/100 {
		runtime.Gosched()
	}
	began, rounds := time.Now(), 20
	for range rounds {
		round()
	}
	quiet := float64(time.Since(began)) / float64(rounds*held)

	stop, stopped := make(chan struct{}), make(chan struct{})
	var busy time.Duration
	go func() {
		defer close(stopped)
		listener, tick := from.receiver(), time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			burst := time.Now()
			for range 100 {
				n++
				listener.Invalidate(fmt.Sprint("session-of-another-node-", n%foreign))
			}
			busy += time.Since(burst)
		}
	}()
	b.ResetTimer()
	hits, reads := 0, 0
	for reads < b.N {
		hits += round()
		reads += held
	}
	b.StopTimer()
	close(stop)
	<-stopped
	b.ReportMetric(float64(b.Elapsed())/float64(reads)/quiet, "x-quiet")
	b.ReportMetric(float64(hits)/float64(reads), "hits")
	b.ReportMetric(float64(busy)/float64(b.Elapsed()), "cores")
}
