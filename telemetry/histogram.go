package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/metric"
)

type histogramDef struct {
	description string
	bounds      []time.Duration
}

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// The bounds begin below what is measured on one machine: some 2 µs for GoFrame's memory
// store, 40 for a Redis, 100 for an announcement of it. They end where time-outs do.
var histograms = map[string]histogramDef{
	storeDuration: {"Time that the store took for an operation.", []time.Duration{
		10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, time.Second, 2500 * ms, 5 * time.Second, 10 * time.Second,
	}},
	invalidationDelay: {"Time from the end of a write until the store's announcement of it was heard.", []time.Duration{
		10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, time.Second,
	}},
	auditAge: {"How long a session that differed from the store had been in memory.", []time.Duration{
		ms, 5 * ms, 10 * ms, 50 * ms, 100 * ms, 500 * ms, time.Second, 5 * time.Second, 10 * time.Second,
		time.Minute, 10 * time.Minute, time.Hour,
	}},
}

func (h histogramDef) seconds() (bounds []float64) {
	for _, b := range h.bounds {
		bounds = append(bounds, b.Seconds())
	}
	return bounds
}

// record costs some hundred nanoseconds where somebody listens, and next to nothing
// else.
func (m *Meters) record(ctx context.Context, name string, d time.Duration, opts ...metric.RecordOption) {
	if m.listened() {
		m.histogram[name].Record(ctx, d.Seconds(), opts...)
	}
}

// listened reports whether anything that is recorded has a chance to be exported.
func (m *Meters) listened() bool { return !m.standIn }
