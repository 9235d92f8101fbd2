package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Sink is where the layers of a chain report to. It is safe for concurrent use.
type Sink struct {
	meters *Meters
	log    *rareLog
}

// standard is the sink of layers that nobody tells another: the global meter provider
// and GoFrame's default log.
var standard = sync.OnceValue(func() *Sink { return &Sink{meters: metersOf(nil), log: &rareLog{}} })

// Reporter is a layer's way to its sink. The zero value is ready, and reports to the
// global meter provider and to GoFrame's default log.
//
// Its field is atomic: a layer is told its sink when its goroutines may run already.
type Reporter struct{ told atomic.Pointer[Sink] }

func (r *Reporter) sink() *Sink {
	if s := r.told.Load(); s != nil {
		return s
	}
	return standard()
}

// Start has the layer's counts and states exported, until Stop.
func (r *Reporter) Start(l Reporting) { r.sink().meters.register(l) }

// Stop keeps the layer's counts and forgets its states.
func (r *Reporter) Stop(l Reporting) { r.sink().meters.retire(l, true) }

// Move has a layer report to another sink from now on; it takes its counts along. l is
// nil for a layer that has none.
func (r *Reporter) Move(to *Sink, l Reporting) {
	from := r.sink()
	r.told.Store(to)
	if l != nil && from.meters != to.meters && from.meters.retire(l, false) {
		to.meters.register(l)
	}
}

// Warn logs a line, one each ten seconds for one cause. The message and the attributes
// hold no session id, key or value (law 10).
func (r *Reporter) Warn(ctx context.Context, cause, message string, attributes ...slog.Attr) {
	r.sink().log.warn(ctx, cause, message, attributes...)
}

// Delayed records how long an announcement took.
func (r *Reporter) Delayed(d time.Duration) {
	r.sink().meters.record(context.Background(), invalidationDelay, d)
}

// Differed records how long a session that differed from the store had been in memory.
func (r *Reporter) Differed(d time.Duration) {
	r.sink().meters.record(context.Background(), auditAge, d)
}

// Observed is a layer, or what a layer stands on, that can be told its sink.
type Observed interface{ Report(to *Sink) }

// Tell tells whatever can be told.
func Tell(who any, to *Sink) {
	if o, ok := who.(Observed); ok {
		o.Report(to)
	}
}
