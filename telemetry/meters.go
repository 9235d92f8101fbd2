package telemetry

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"time"

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

// meters are the instruments of one meter provider. Layers register there; what those
// of a process report is summed, as chains have no names.
//
// A provider that has got meters keeps them as long as the process lives: what is counted
// while a chain is closed must be in the last export, and counters don't go back when
// another chain follows.
//
// mu guards layers and retired; the rest is set by newMeters.
//
// Lock order: a Reporter's mutex, known.mu, the provider's locks, meters.mu, the mutexes of a layer whose
// states are read. delays.mu, rareLog.mu and early.mu are held while no other lock is taken.
type meters struct {
	provider  metric.MeterProvider
	standIn   bool // the provider is OpenTelemetry's own, until a program sets a global one
	histogram map[string]metric.Float64Histogram

	mu      sync.Mutex
	layers  map[Reporting]bool
	retired [numCounts]int64 // of layers that were closed
}

// newMeters makes the instruments. An instrument that a provider refuses is reported to
// OpenTelemetry's error handler, and the others are still made.
func newMeters(provider metric.MeterProvider) *meters {
	m := &meters{provider: provider, standIn: isStandIn(provider), layers: map[Reporting]bool{}, histogram: map[string]metric.Float64Histogram{}}
	meter := provider.Meter(Scope, metric.WithInstrumentationVersion(Version))
	for name, h := range histograms {
		instrument, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(h.description),
			metric.WithExplicitBucketBoundaries(h.seconds()...))
		handle(err)
		m.histogram[name] = instrument
	}
	counter := map[string]metric.Int64Observable{}
	var all []metric.Observable
	for _, c := range counters {
		instrument, err := meter.Int64ObservableCounter(c.metric, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		handle(err)
		counter[c.metric] = instrument
		all = append(all, instrument)
	}
	var gauge [numGauges]func(metric.Observer, float64)
	for n, g := range gauges {
		instrument, observe := g.make(meter)
		gauge[n] = observe
		all = append(all, instrument)
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		counts, states := m.collect()
		for n, total := range counts {
			o.ObserveInt64(counter[allSeries[n].metric], total, metric.WithAttributeSet(allSeries[n].attributes))
		}
		for g, value := range states {
			gauge[g](o, value)
		}
		return nil
	}, all...)
	handle(err)
	return m
}

// make makes the instrument and a function that observes a value with it.
func (g gaugeDef) make(meter metric.Meter) (metric.Observable, func(metric.Observer, float64)) {
	if g.additive {
		i, err := meter.Int64ObservableUpDownCounter(g.metric, metric.WithUnit(g.unit), metric.WithDescription(g.description))
		handle(err)
		return i, func(o metric.Observer, value float64) { o.ObserveInt64(i, int64(value)) }
	}
	i, err := meter.Float64ObservableGauge(g.metric, metric.WithUnit(g.unit), metric.WithDescription(g.description))
	handle(err)
	return i, func(o metric.Observer, value float64) { o.ObserveFloat64(i, value) }
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// collect adds up what the layers report. It is called under the provider's locks, and
// takes none that is held while something is registered there.
func (m *meters) collect() (counts [numCounts]int64, states map[Gauge]float64) {
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

// add has a layer exported.
func (m *meters) add(l Reporting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.layers[l] = true
}

// retire keeps the counts of a layer that ends, as counters don't go back.
func (m *meters) retire(l Reporting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.layers[l] {
		return
	}
	delete(m.layers, l)
	for n := range m.retired {
		m.retired[n] += l.Tally().Total(Count(n))
	}
}

// move has a layer that is registered report to other meters; it takes its counts along.
func (m *meters) move(l Reporting, next *meters) {
	if m == next {
		return
	}
	m.mu.Lock()
	registered := m.layers[l]
	delete(m.layers, l)
	m.mu.Unlock()
	if registered {
		next.add(l)
	}
}

// record costs some hundred nanoseconds if a provider listens, and next to nothing if none does.
func (m *meters) record(ctx context.Context, name string, d time.Duration, opts ...metric.RecordOption) {
	if m.listened() {
		m.histogram[name].Record(ctx, d.Seconds(), opts...)
	}
}

// listened reports whether anything that is recorded has a chance to be exported. OpenTelemetry's stand-in for the
// global provider drops all measurements until a program sets one, and passes them on from then.
func (m *meters) listened() bool { return !m.standIn || otel.GetMeterProvider() != m.provider }

func isStandIn(provider metric.MeterProvider) bool {
	kind := reflect.TypeOf(provider)
	return kind.Kind() == reflect.Pointer && strings.HasSuffix(kind.Elem().PkgPath(), "otel/internal/global")
}
