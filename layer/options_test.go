package layer_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// extreme is a value of an option: refused when the option is made, or as good as any.
type extreme struct {
	value   string
	refused bool
	make    func() layer.Decorator
}

func extremes[V, O any](option func(V) O, layer func(...O) layer.Decorator, refused, taken []V) (all []extreme) {
	for n, v := range append(refused, taken...) {
		all = append(all, extreme{fmt.Sprint(v), n < len(refused), func() decorator { return layer(option(v)) }})
	}
	return all
}

type decorator = layer.Decorator

// Every option refuses what makes no sense, with a sentence that says what to pass instead, and
// works with all else, the least and the largest value included.
func TestOptionsAtTheirExtremes(t *testing.T) {
	const (
		most  = time.Duration(math.MaxInt64)
		least = time.Nanosecond
	)
	nan, tiny := math.NaN(), math.SmallestNonzeroFloat64
	behind := func(opts ...layer.CoalescedOption) layer.Decorator {
		return patientCoalesced(append(opts, layer.WriteBehind(time.Millisecond))...)
	}
	for name, all := range map[string][]extreme{
		"MaxBytes":                           extremes(layer.MaxBytes, patientLocal, []int64{0, -1, math.MinInt64}, []int64{1}), // the largest below
		"MaxStale":                           extremes(layer.MaxStale, patientLocal, []time.Duration{-1, math.MinInt64}, []time.Duration{0, least, most}),
		"ServeStale":                         extremes(layer.ServeStale, patientLocal, []time.Duration{0, -1, math.MinInt64}, []time.Duration{least, most}),
		"LoadTimeout":                        extremes(layer.LoadTimeout, patientLocal, []time.Duration{0, -1, math.MinInt64}, []time.Duration{time.Minute, most}),
		"WarmRestart":                        extremes(layer.WarmRestart, patientLocal, []string{""}, nil),
		"Audited":                            extremes(layer.Audited, patientLocal, []float64{0, -1, 1.01, nan, math.Inf(1)}, []float64{tiny, 1}),
		"WriteTimeout":                       extremes(layer.WriteTimeout, patientCoalesced, []time.Duration{0, -1, math.MinInt64}, []time.Duration{most}),
		"WriteBehind":                        extremes(layer.WriteBehind, patientCoalesced, []time.Duration{0, -1, math.MinInt64}, []time.Duration{least, most}),
		"MaxPending":                         extremes(layer.MaxPending, behind, []int{0, -1, math.MinInt}, []int{1, math.MaxInt}),
		"MaxPendingBytes":                    extremes(layer.MaxPendingBytes, behind, []int64{0, -1, math.MinInt64}, []int64{1, math.MaxInt64}),
		"SlideEvery":                         extremes(layer.SlideEvery, patientCoalesced, []float64{-tiny, -1, 1.01, nan, math.Inf(1)}, []float64{0, tiny, 1}),
		"OnGiveUp":                           extremes(layer.OnGiveUp, patientCoalesced, []func(layer.GiveUp){nil}, nil),
		"Journal":                            extremes(layer.Journal, behind, []string{""}, nil),
		"Invalidation":                       extremes(layer.Invalidation, patientLocal, []layer.InvalidationSource{nil}, nil),
		"WatchLease":                         extremes(redisstore.WatchLease, unused[redisstore.Option], []time.Duration{0, -1, least, 50*time.Millisecond - 1, time.Minute + 1, most}, nil),
		"layertest.MaxStale":                 extremes(layertest.MaxStale, unused[layertest.Option], []time.Duration{-1, math.MinInt64, time.Hour + 1, most}, nil),
		"layertest.Precision":                extremes(layertest.Precision, unused[layertest.Option], []time.Duration{-1, math.MinInt64, time.Hour + 1, most}, nil),
		"KeepReasons":                        extremes(layer.KeepReasons, indexedByNobody, []time.Duration{0, -1, least, math.MinInt64}, []time.Duration{time.Second, most}),
		"LongestSession":                     extremes(layer.LongestSession, indexedByNobody, []time.Duration{0, -1, least, math.MinInt64}, []time.Duration{time.Second, most}),
		"Limit":                              extremes(func(n int) layer.IndexedOption { return layer.Limit(n, layer.EndOldest) }, indexedByNobody, []int{0, -1, math.MinInt, 1001, math.MaxInt}, []int{1, 1000}),
		"an option of Indexed that is nil":   {{"nil", true, func() layer.Decorator { return layer.Indexed(nil, nil) }}},
		"an option of Local that is nil":     {{"nil", true, func() layer.Decorator { return layer.Local(nil) }}},
		"an option of Coalesced that is nil": {{"nil", true, func() layer.Decorator { return layer.Coalesced(nil) }}},
		"an option of Traced that is nil":    {{"nil", true, func() layer.Decorator { return layer.Traced(nil) }}},
		"TracerProvider":                     {{"nil", true, func() layer.Decorator { return layer.Traced(layer.TracerProvider(nil)) }}},
		"MeterProvider":                      {{"nil", true, func() layer.Decorator { return layer.Traced(layer.MeterProvider(nil)) }}},
		"Logger":                             {{"nil", true, func() layer.Decorator { return layer.Traced(layer.Logger(nil)) }}},
	} {
		for _, e := range all {
			t.Run(fmt.Sprintf("%s(%s)", name, e.value), func(t *testing.T) {
				text, refused := refusal(e)
				switch {
				case refused != e.refused:
					t.Errorf("refused %t, want %t: %s", refused, e.refused, text)
				case refused && !(strings.HasPrefix(text, "strata: ") && strings.Contains(text, ";")):
					t.Errorf("%q doesn't say what to do", text)
				case refused && !strings.Contains(name, " ") && !strings.Contains(text, name):
					t.Errorf("%q doesn't name the option", text)
				}
				if !refused {
					works(t, e.make())
				}
			})
		}
	}
}

func unused[O any](...O) layer.Decorator { return nil }

func refusal(e extreme) (text string, refused bool) {
	defer func() {
		if r := recover(); r != nil {
			text, refused = fmt.Sprint(r), true
		}
	}()
	layer.Chain(teststore.New(), e.make()).Close(context.Background())
	return "", false
}

// works uses a layer as requests do, with ttls that are extreme as well.
func works(t *testing.T, d layer.Decorator) {
	ctx := context.Background()
	for _, ttl := range []time.Duration{time.Hour, math.MaxInt64} {
		store := teststore.New()
		chain := layer.Chain(store, d)
		get := func() any {
			m, err := chain.GetSession(ctx, "a", ttl)
			if err != nil {
				t.Fatal(err)
			}
			if m == nil {
				return nil
			}
			return m.Get("k")
		}
		if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"k": 1}, true), ttl); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := get(); got != 1 {
				t.Errorf("ttl %v: got %v", ttl, got)
			}
			if err := chain.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Error(err)
			}
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
		if read, err := store.Load(ctx, "a", ttl); err != nil || read.Snapshot == nil || read.Snapshot.Get("k") != 1 {
			t.Errorf("ttl %v: the store holds %v, %v", ttl, read.Snapshot, err)
		}
	}
}

// The largest bounds are those of all time.
func TestTheLargestBoundsServeFromMemory(t *testing.T) {
	ctx, most := context.Background(), time.Duration(math.MaxInt64)
	for name, opts := range map[string][]layer.LocalOption{
		"MaxStale":  {layer.MaxStale(most)},
		"Exclusive": {layer.Exclusive(), layer.ServeStale(most)},
		"MaxBytes":  {layer.MaxBytes(math.MaxInt64), layer.MaxStale(time.Hour)},
	} {
		store := teststore.New()
		store.Put("a", map[string]any{"k": 1}, time.Hour)
		chain := layer.Chain(store, patientLocal(opts...))
		for range 10 {
			for _, id := range []string{"a", "none"} {
				if _, err := chain.GetSession(ctx, id, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
		}
		tier, _ := layer.As[*local.Storage](chain)
		if hits, none := tier.Tally().Total(telemetry.ReadHit), tier.Tally().Total(telemetry.ReadNegative); hits != 9 || none != 9 {
			t.Errorf("%s: %d hits and %d absences were served from memory, want 9 of each", name, hits, none)
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func indexedByNobody(opts ...layer.IndexedOption) layer.Decorator { return layer.Indexed(nil, opts...) }
