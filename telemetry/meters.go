package telemetry

import (
	"context"
	"reflect"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// Reporting is a layer whose counts and states are exported, when a reader collects.
type Reporting interface {
	// Tally is where the layer counts.
	Tally() *Tally
	// Gauges sets the layer's states.
	Gauges(set func(Gauge, float64))
}

// Meters are the instruments of one meter provider. Layers register there; what those
// of a process report is summed, as chains have no names.
//
// mu guards layers and retired; the rest is set by newMeters.
type Meters struct {
	global    bool
	histogram map[string]metric.Float64Histogram

	mu      sync.Mutex
	layers  map[Reporting]bool
	retired [numCounts]int64 // of layers that were closed
}

// known are the Meters of each provider, so that two chains don't make two of one.
var known struct {
	mu     sync.Mutex
	global *Meters
	of     map[metric.MeterProvider]*Meters
}

// metersOf answers the Meters of a provider, nil for the global one. They live as long
// as the process.
func metersOf(provider metric.MeterProvider) *Meters {
	known.mu.Lock()
	defer known.mu.Unlock()
	if provider == nil {
		if known.global == nil {
			known.global = newMeters(otel.GetMeterProvider())
			known.global.global = true
		}
		return known.global
	}
	if !reflect.ValueOf(provider).Comparable() {
		return newMeters(provider)
	}
	m := known.of[provider]
	if m == nil {
		m = newMeters(provider)
		if known.of == nil {
			known.of = map[metric.MeterProvider]*Meters{}
		}
		known.of[provider] = m
	}
	return m
}

// newMeters makes the instruments. An instrument that a provider refuses is reported to
// OpenTelemetry's error handler, and the others are still made.
func newMeters(provider metric.MeterProvider) *Meters {
	m := &Meters{layers: map[Reporting]bool{}, histogram: map[string]metric.Float64Histogram{}}
	meter := provider.Meter(Scope)
	check := func(err error) {
		if err != nil {
			otel.Handle(err)
		}
	}
	for name, h := range histograms {
		instrument, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(h.description),
			metric.WithExplicitBucketBoundaries(h.bounds...))
		check(err)
		m.histogram[name] = instrument
	}
	counter := map[string]metric.Int64ObservableCounter{}
	var all []metric.Observable
	for name, c := range counters {
		instrument, err := meter.Int64ObservableCounter(name, metric.WithUnit(c[0]), metric.WithDescription(c[1]))
		check(err)
		counter[name] = instrument
		all = append(all, instrument)
	}
	var gauge [numGauges]metric.Float64Observable
	for n, g := range gauges {
		instrument, err := g.make(meter)
		check(err)
		gauge[n] = instrument
		all = append(all, instrument)
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		counts, states := m.collect()
		for n, total := range counts {
			o.ObserveInt64(counter[allSeries[n].metric], total, metric.WithAttributeSet(allSeries[n].attributes))
		}
		for g, value := range states {
			o.ObserveFloat64(gauge[g], value)
		}
		return nil
	}, all...)
	check(err)
	return m
}

// make makes the instrument: what adds up over layers and nodes is no gauge to
// OpenTelemetry.
func (g gaugeDef) make(meter metric.Meter) (metric.Float64Observable, error) {
	if reflect.ValueOf(g.fold).Pointer() == reflect.ValueOf(sum).Pointer() {
		return meter.Float64ObservableUpDownCounter(g.metric, metric.WithUnit(g.unit), metric.WithDescription(g.description))
	}
	return meter.Float64ObservableGauge(g.metric, metric.WithUnit(g.unit), metric.WithDescription(g.description))
}

// collect adds up what the layers report.
func (m *Meters) collect() (counts [numCounts]int64, states map[Gauge]float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts, states = m.retired, map[Gauge]float64{}
	for l := range m.layers {
		tally := l.Tally()
		for n := range counts {
			counts[n] += tally.Total(Count(n))
		}
		l.Gauges(func(g Gauge, value float64) {
			if before, ok := states[g]; ok {
				value = gauges[g].fold(before, value)
			}
			states[g] = value
		})
	}
	return counts, states
}

func (m *Meters) register(l Reporting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.layers[l] = true
}

// retire keeps the counts of a layer that ends, as counters don't go back; a layer that
// moves to other Meters takes them along. It is false for one that isn't registered.
func (m *Meters) retire(l Reporting, ends bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.layers[l] {
		return false
	}
	delete(m.layers, l)
	for n := range m.retired {
		if ends {
			m.retired[n] += l.Tally().Total(Count(n))
		}
	}
	return true
}
