package redisstore_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// timed returns what a storage has reported since the last call: how many operations
// of which kind, with the type of their error.
func (f *fixture) timed(s interface{ Report(*telemetry.Sink) }) func() map[string]uint64 {
	f.Helper()
	reader := metric.NewManualReader(metric.WithTemporalitySelector(func(metric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }))
	s.Report(telemetry.Config{Metering: metric.NewMeterProvider(metric.WithReader(reader))}.Sink())
	return func() map[string]uint64 {
		var all metricdata.ResourceMetrics
		f.check(reader.Collect(ctx, &all))
		timed := map[string]uint64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				h, _ := m.Data.(metricdata.Histogram[float64])
				for _, p := range h.DataPoints {
					operation, _ := p.Attributes.Value("strata.operation")
					failure, _ := p.Attributes.Value("error.type")
					timed[strings.TrimSpace(operation.AsString()+" "+failure.AsString())] = p.Count
				}
			}
		}
		return timed
	}
}

// unwilling is a value whose encoding panics.
type unwilling struct{}

func (unwilling) MarshalJSON() ([]byte, error) { panic(secretValue) }

// The store's time is that of what reaches it, once an operation, and what doesn't return
// is no success.
func TestWhatReachesTheServerIsTimed(t *testing.T) {
	f := start(t)
	s, p := f.probed()
	timed := f.timed(s)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	whole := func(value any) *tiers.Delta {
		d, err := tiers.Replace(map[string]any{secretKey: value})
		f.check(err)
		return d
	}
	changed := func(id string) *tiers.Delta {
		read, err := s.Load(ctx, id, ttl)
		f.check(err)
		data := read.Snapshot.Map()
		data["mine"] = id
		d, err := tiers.Diff(read.Snapshot, data)
		f.check(err)
		return d
	}
	must := func(id string) {
		_, err := s.Commit(ctx, id, whole(1), ttl)
		f.check(err)
	}
	for _, c := range []struct {
		what string
		do   func()
		want map[string]uint64
	}{
		{"nothing that is sent", func() {
			_, _ = s.Load(ctx, "", ttl)
			_, _ = s.Load(gone, "a", ttl)
			_, _ = s.Slide(ctx, "a", -1)
			_, _ = s.Slide(gone, "a", ttl)
			_ = s.RemoveAll(gone, "a")
			_, _ = s.Commit(ctx, "a", whole(make(chan int)), ttl)
			_, _ = s.Commit(gone, "a", whole(1), ttl)
			s.CommitAll(gone, []tiers.Commit{{ID: "a", Delta: whole(1), TTL: ttl}})
			s.LoadAll(gone, []tiers.Reload{{ID: "a", TTL: ttl}})
		}, map[string]uint64{}},
		{"each once", func() {
			must("a")
			must("b")
			_, _ = s.Load(ctx, "a", ttl)
			_, _ = s.Slide(ctx, "a", ttl)
			s.LoadAll(ctx, []tiers.Reload{{ID: "a", TTL: ttl}, {ID: "b", TTL: ttl}})
			f.check(s.RemoveAll(ctx, "b"))
		}, map[string]uint64{"Commit": 2, "Load": 1, "Slide": 1, "LoadAll": 1, "RemoveAll": 1}},
		{"a commit that loses in a batch", func() {
			a := changed("a")
			must("a")
			results := s.CommitAll(ctx, []tiers.Commit{{ID: "a", Delta: a, TTL: ttl}, {ID: "c", Delta: whole(1), TTL: ttl}})
			f.check(failure.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
		}, map[string]uint64{"Load": 1, "Commit": 1, "CommitAll": 1}},
		{"a revoked session", func() {
			must("d")
			d := changed("d")
			f.check(f.raw.Del(ctx, "d").Err())
			results := s.CommitAll(ctx, []tiers.Commit{{ID: "d", Delta: d, TTL: ttl}, {ID: "c", Delta: whole(2), TTL: ttl}})
			if results[0].Err != tiers.ErrRevoked {
				t.Errorf("the batch returned %v", results[0].Err)
			}
			_, _ = s.Commit(ctx, "d", d, ttl)
		}, map[string]uint64{"Commit": 1, "Load": 1, "CommitAll": 1, "Commit revoked": 1}},
		{"a panic on the way", func() {
			p.reset(func(int, string) { panic(secretValue) })
			defer p.reset(nil)
			defer func() { _ = recover() }()
			_, _ = s.Load(ctx, "a", ttl)
		}, map[string]uint64{"Load panic": 1}},
		{"a panic before", func() {
			defer func() { _ = recover() }()
			_, _ = s.Commit(ctx, "a", whole(unwilling{}), ttl)
		}, map[string]uint64{}},
	} {
		c.do()
		if got := timed(); !maps.Equal(got, c.want) {
			t.Errorf("%s: timed %v, want %v", c.what, got, c.want)
		}
	}
}

// The index's commands are timed as well, each time that it asks.
func TestTheIndexIsTimed(t *testing.T) {
	f := start(t)
	s := f.open()
	timed := f.timed(s)
	index, key := s.Indexer(), principals.KeyOf("ann")
	entry := principals.Entry{Principal: "ann", Key: key, ID: "a", Tag: "tag", TTL: ttl}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err := index.Enter(ctx, entry, 1) // asks for the time first
	f.check(err)
	_, err = index.Mark(ctx, key, principals.Mark{Nonce: "nonce", Kept: []principals.Kept{{Tag: "tag"}}}, ttl)
	f.check(err)
	_, _ = index.Marks(gone, []int{0})
	if got := timed(); !maps.Equal(got, map[string]uint64{"Index": 4}) {
		t.Errorf("timed were %v", got)
	}
}
