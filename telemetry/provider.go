package telemetry

import (
	"reflect"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// known holds the meters of each provider, so that chains share those of one provider. mu guards of.
var known struct {
	mu sync.Mutex
	of map[metric.MeterProvider]*meters
}

// globalMeters are those of the global provider. They are made once, as all instruments are: OpenTelemetry's stand-in
// passes them on to the first provider that a program sets.
var globalMeters = sync.OnceValue(func() *meters { return metersOf(otel.GetMeterProvider()) })

// metersOf returns the meters of a provider. One that can't be compared gets meters of its own each time.
func metersOf(provider metric.MeterProvider) *meters {
	if !reflect.ValueOf(provider).Comparable() {
		return newMeters(provider)
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	m := known.of[provider]
	if m == nil {
		m = newMeters(provider)
		if known.of == nil {
			known.of = map[metric.MeterProvider]*meters{}
		}
		known.of[provider] = m
	}
	return m
}
