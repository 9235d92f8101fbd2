package telemetry

import (
	"context"
	"reflect"
	"sync"
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

// onlyGlobal is the one global provider of these tests: OpenTelemetry passes on what was registered before to the first.
var onlyGlobal = sync.OnceValues(metered)

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

func state(t *testing.T, m metricdata.Metrics) float64 {
	t.Helper()
	gauge, ok := m.Data.(metricdata.Gauge[float64])
	if !ok || len(gauge.DataPoints) != 1 {
		t.Fatalf("%s is %v", m.Name, m.Data)
	}
	return gauge.DataPoints[0].Value
}

// A program may set its global provider late. Earlier counts are exported then; nothing is timed as
// long as there is none.
func TestTheGlobalProviderMayBeSetLater(t *testing.T) {
	before, _ := standard.meters().collect() // of layers that other tests have closed
	l, _ := report(t, nil, 3)
	store := NewStore(l)
	if began := store.Begin(); isStandIn(otel.GetMeterProvider()) && !began.IsZero() {
		t.Error("the clock was read for nobody")
	}

	provider, reader := onlyGlobal()
	otel.SetMeterProvider(provider)
	store.End(context.Background(), store.Begin(), Load, "")
	found := collected(t, reader)
	if n := counted(t, found["strata.local.loads"]); n != before[Loads]+3 {
		t.Errorf("%d loads are exported, want 3 and %d of before", n, before[Loads])
	}
	if h, _ := found[storeDuration].Data.(metricdata.Histogram[float64]); len(h.DataPoints) == 0 {
		t.Error("no operation is timed")
	}
}

// All chains of a process share the instruments of a provider: two sets would overwrite each other's states.
func TestAProviderIsOneHoweverItIsNamed(t *testing.T) {
	provider, reader := metered()
	down, _ := report(t, Config{Metering: provider}.Sink(), 1)
	down.state = 0
	report(t, Config{Metering: provider}.Sink(), 1)
	if connected := state(t, collected(t, reader)["strata.watch.connected"]); connected != 0 {
		t.Errorf("connected is %v, though one isn't", connected)
	}
	if (Config{Metering: standard.meters().provider}).Sink().meters() != standard.meters() {
		t.Error("the global provider has other instruments if it is named")
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
	for range 2 {
		report(t, Config{Metering: incomparable{MeterProvider: provider}}.Sink(), 1)
	}
	if n := counted(t, collected(t, reader)["strata.local.loads"]); n != 2 {
		t.Errorf("%d loads, want 2", n)
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
