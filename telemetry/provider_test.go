package telemetry

import (
	"context"
	"reflect"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func metered() (metric.MeterProvider, *sdkmetric.ManualReader) {
	reader := sdkmetric.NewManualReader()
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), reader
}

// global sets the global provider for the time of the test.
func global(t *testing.T, provider metric.MeterProvider) {
	before := otel.GetMeterProvider()
	t.Cleanup(func() { otel.SetMeterProvider(before) })
	otel.SetMeterProvider(provider)
}

// report makes a layer that has counted loads and reports to a sink, nil for the standard.
func report(t *testing.T, to *Sink, loads int) (*counting, *Reporter) {
	r, l := &Reporter{}, &counting{state: 1}
	r.Start(l)
	if to != nil {
		r.Move(to, l)
	}
	t.Cleanup(func() { r.Stop(l) })
	l.tally.AddN(Loads, loads)
	return l, r
}

func state(t *testing.T, m metricdata.Metrics) int64 {
	t.Helper()
	gauge, ok := m.Data.(metricdata.Gauge[int64])
	if !ok || len(gauge.DataPoints) != 1 {
		t.Fatalf("%s is %v", m.Name, m.Data)
	}
	return gauge.DataPoints[0].Value
}

// A program may set its global provider late. Earlier counts are exported then; nothing is timed as
// long as there is none.
func TestTheGlobalProviderMayBeSetLater(t *testing.T) {
	if !isStandIn(otel.GetMeterProvider()) {
		t.Fatal("another test has left its provider")
	}
	before, _ := standard.meters().collect() // of layers that other tests have closed
	l, _ := report(t, nil, 3)
	store := NewStore(l)
	began := store.Begin()
	if !began.IsZero() {
		t.Error("the clock was read for nobody")
	}
	store.End(context.Background(), began, Load, "")

	provider, reader := metered()
	global(t, provider)
	store.End(context.Background(), store.Begin(), Load, "")
	found := collected(t, reader)
	if n := counted(t, found["strata.local.loads"]); n != before[Loads]+3 {
		t.Errorf("%d loads are exported, want 3 and %d of before", n, before[Loads])
	}
	if h, _ := found[storeDuration].Data.(metricdata.Histogram[float64]); len(h.DataPoints) != 1 || h.DataPoints[0].Count != 1 {
		t.Errorf("timed %v, want one operation", h.DataPoints)
	}
}

// A program may also replace it: tests do, and those who set it up anew.
func TestTheGlobalProviderMayBeReplaced(t *testing.T) {
	first, old := metered()
	global(t, first)
	long, _ := report(t, nil, 5) // lives through the change
	closed, r := report(t, nil, 2)
	r.Stop(closed)
	was := counted(t, collected(t, old)["strata.local.loads"])

	second, reader := metered()
	global(t, second)
	report(t, nil, 1)
	long.tally.AddN(Loads, 1)
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n < 7 {
		t.Errorf("the new provider has %d loads, want 7 at least", n)
	}
	if n := counted(t, collected(t, old)["strata.local.loads"]); n != was {
		t.Errorf("the old provider went from %d loads to %d", was, n)
	}

	third, reader := metered() // noticed without a new layer
	global(t, third)
	if store := NewStore(long); store.Begin().IsZero() {
		t.Error("nobody listens")
	}
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n < 7 {
		t.Errorf("the third provider has %d loads, want 7 at least", n)
	}
}

// The same provider, named and global, has one set of instruments: two would overwrite
// each other's states.
func TestAProviderIsOneHoweverItIsNamed(t *testing.T) {
	standIn := otel.GetMeterProvider()
	provider, reader := metered()
	named := Config{Metering: provider}.Sink()
	down, _ := report(t, named, 1)
	down.state = 0
	global(t, provider)
	report(t, nil, 1)
	found := collected(t, reader)
	if connected := state(t, found["strata.watch.connected"]); connected != 0 {
		t.Errorf("connected is %d, though one isn't", connected)
	}
	if named.meters() != standard.meters() {
		t.Error("two sets of instruments")
	}

	if (Config{Metering: standIn}).Sink().meters() != standard.meters() {
		t.Error("what was the global provider isn't the global one")
	}
}

// incomparable is a provider that can't be a key of a map.
type incomparable struct {
	metric.MeterProvider
	_ []int
}

func TestAProviderNeedNotBeComparable(t *testing.T) {
	if reflect.TypeOf(incomparable{}).Comparable() {
		t.Fatal("it can be compared")
	}
	provider, reader := metered()
	global(t, incomparable{MeterProvider: provider})
	report(t, nil, 1)
	report(t, nil, 1)
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n < 2 {
		t.Errorf("%d loads, want 2 at least", n)
	}
	report(t, Config{Metering: incomparable{MeterProvider: provider}}.Sink(), 1)
	if first := standard.meters(); first != standard.meters() {
		t.Error("made anew each time")
	}
}

// Counts from while a chain is closed are in the last export, and the next chain's counters go on from
// there.
func TestCountsOutliveTheLastLayer(t *testing.T) {
	provider, reader := metered()
	sink := Config{Metering: provider}.Sink()
	l, r := report(t, sink, 3)
	l.tally.Add(Loads)
	r.Stop(l)
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n != 4 {
		t.Errorf("%d loads in the last export, want 4", n)
	}
	report(t, sink, 1)
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n != 5 {
		t.Errorf("%d loads later, want 5", n)
	}
}
