package telemetry

import (
	"context"
	"reflect"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

type histogramDef struct {
	description string
	bounds      []float64 // in seconds
}

// OpenTelemetry's boundaries for databases, with smaller ones for a Redis nearby.
var latencies = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10}

var histograms = map[string]histogramDef{
	storeDuration:     {"Time that the store took for an operation.", latencies},
	invalidationDelay: {"Time from the end of a write until the store's announcement of it was heard.", latencies},
	auditAge: {"How long a session that differed from the store had been in memory.",
		[]float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600, 3600}},
}

// record costs some hundred nanoseconds where somebody listens, and next to nothing
// else.
func (m *Meters) record(ctx context.Context, name string, d time.Duration, opts ...metric.RecordOption) {
	if m.listened() {
		m.histogram[name].Record(ctx, d.Seconds(), opts...)
	}
}

// listened reports whether anything that is recorded has a chance to be exported: until
// a program sets a global provider, there is a stand-in that drops all.
func (m *Meters) listened() bool {
	if !m.global {
		return true
	}
	kind := reflect.TypeOf(otel.GetMeterProvider())
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	return !strings.HasSuffix(kind.PkgPath(), "otel/internal/global")
}
