package telemetry

import (
	"reflect"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// known holds the meters of each provider, so that chains share those of one provider, and the meters of the
// present global provider. Layers without a provider of their own are registered there. They follow when a program
// sets another global one; that is noticed when a chain is built, and when a store or an invalidation is timed.
//
// mu guards of, and is held while layers register, move and retire; global is written
// under it.
var known struct {
	mu     sync.Mutex
	of     map[metric.MeterProvider]*meters
	global atomic.Pointer[meters]
}

// globalMeters returns the meters of the global provider of the moment.
func globalMeters() *meters {
	provider := otel.GetMeterProvider()
	if m := known.global.Load(); m != nil && m.belongTo(provider) {
		return m
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	return follow()
}

// follow is called under known.mu, as all that follows is.
func follow() *meters {
	provider, last := otel.GetMeterProvider(), known.global.Load()
	if last != nil && last.belongTo(provider) {
		return last
	}
	next := metersOf(provider)
	if last != nil {
		last.hand(next)
	}
	known.global.Store(next)
	return next
}

// metersOf returns the meters of a provider. One that isn't a pointer may not be
// comparable, and gets meters of its own each time.
func metersOf(provider metric.MeterProvider) *meters {
	if reflect.TypeOf(provider).Kind() != reflect.Pointer {
		return newMeters(provider)
	}
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
