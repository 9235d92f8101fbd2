package sessionmap

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/tiers"
)

// still is a core that returns one snapshot and takes every commit.
type still struct {
	*core
	snapshot *tiers.Snapshot
}

func (s still) Load(context.Context, string, time.Duration) (tiers.Read, error) {
	return tiers.Read{Snapshot: s.snapshot, Outcome: tiers.OutcomeHit}, nil
}

func (s still) Commit(context.Context, string, *tiers.Delta, time.Duration) (*tiers.Snapshot, error) {
	return s.snapshot, nil
}

func tenKeys() values {
	data := values{}
	for n := range 10 {
		data[fmt.Sprint("key", n)] = fmt.Sprint("value ", n)
	}
	return data
}

// ballast gives the collector a heap as of a real process; without, it runs as if it
// had nothing else to do.
func ballast() []values {
	heap := make([]values, 50_000)
	for n := range heap {
		heap[n] = tenKeys()
	}
	return heap
}

var sink *gmap.StrAnyMap // keeps results on the heap, where a request has them

// BenchmarkHandOut is a hit through a Maps, beside the least that an isolated map can
// cost: maps.Clone, of what is nested as well, and a gmap around it. The two take
// turns, so that both see the same machine. The goal is a ratio of at most 1.5.
func BenchmarkHandOut(b *testing.B) {
	heap := ballast()
	defer runtime.KeepAlive(heap)
	nested := tenKeys()
	nested["cart"] = values{"items": []any{"a", "b"}, "count": 2}
	flat := func(data values) values { return maps.Clone(data) }
	deep := func(data values) values {
		c := maps.Clone(data)
		cart := maps.Clone(c["cart"].(values))
		cart["items"] = slices.Clone(cart["items"].([]any))
		c["cart"] = cart
		return c
	}
	for name, tt := range map[string]struct {
		data  values
		clone func(values) values
	}{"ten keys": {tenKeys(), flat}, "ten keys and a nested one": {nested, deep}} {
		b.Run(name, func(b *testing.B) {
			data := tt.data
			f := New(still{newCore(), tiers.Adopt(data)})
			var floor, face time.Duration
			const turn = 100
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				for range turn {
					sink = gmap.NewStrAnyMapFrom(tt.clone(data), true)
				}
				middle := time.Now()
				for range turn {
					sink, _ = f.GetSession(context.Background(), id, ttl)
				}
				floor += middle.Sub(began)
				face += time.Since(middle)
			}
			b.ReportMetric(float64(face)/float64(floor), "x-clone+gmap")
			b.ReportMetric(float64(face.Nanoseconds())/float64(b.N*turn), "ns/hand-out")
		})
	}
}

// BenchmarkClose is a SetSession without the store.
func BenchmarkClose(b *testing.B) {
	heap := ballast()
	defer runtime.KeepAlive(heap)
	snapshot := tiers.Adopt(tenKeys())
	f := New(still{newCore(), snapshot})
	ctx := context.Background()
	for name, change := range map[string]func(m *gmap.StrAnyMap, n int){
		"unchanged":       func(*gmap.StrAnyMap, int) {},
		"one key changed": func(m *gmap.StrAnyMap, n int) { m.Set("key3", n) },
	} {
		b.Run(name, func(b *testing.B) {
			m, err := f.GetSession(ctx, id, ttl)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				change(m, n)
				if err := f.SetSession(ctx, id, m, ttl); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
