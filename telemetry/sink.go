package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Config is where the telemetry of a chain goes, and which spans are made; layer.Traced's options
// set it.
type Config struct {
	Tracing  trace.TracerProvider // nil: the global one
	Roots    bool                 // spans without a parent are made
	Metering metric.MeterProvider // nil: the global one
	Logger   *slog.Logger         // nil: GoFrame's default log
}

// Sink is where the layers are to report, nil if the config names neither meters nor a logger.
func (c Config) Sink() *Sink {
	if c.Metering == nil && c.Logger == nil {
		return nil
	}
	s := &Sink{log: &rareLog{logger: c.Logger}}
	if c.Metering != nil {
		s.explicit = metersOf(c.Metering)
	}
	return s
}

// Sink is where the layers of a chain report to. It is safe for concurrent use.
//
// All fields are set at construction and guard themselves.
type Sink struct {
	explicit *meters // nil: those of the global provider
	log      *rareLog
	store    any     // nil: not known
	delays   *delays // nil: not of one chain
}

var standard = &Sink{log: &rareLog{}}

func (s *Sink) meters() *meters {
	if s.explicit != nil {
		return s.explicit
	}
	return globalMeters()
}

// Standard is the sink of layers without one of their own: the global meter provider
// and GoFrame's default log.
func Standard() *Sink { return standard }

// Over returns the sink of a chain on a store. Only that store is measured: another layer may take a decorator of
// another author for the store.
func (s *Sink) Over(store any) *Sink {
	over := *s
	over.store, over.delays = store, &delays{}
	return &over
}

// Reporter reports for a layer. The zero value is ready, and reports to the global meter
// provider and to GoFrame's default log, unless it is given another sink. Lines from before
// that wait for a second.
//
// given is atomic: a layer gets its sink when its goroutines may run already. moving is held while the layer
// registers, moves and leaves. early guards itself.
type Reporter struct {
	given  atomic.Pointer[Sink]
	moving sync.Mutex
	early  early
}

func (r *Reporter) sink() *Sink {
	if s := r.given.Load(); s != nil {
		return s
	}
	return standard
}

// Start has the layer's counts and states exported, until Stop.
func (r *Reporter) Start(l Reporting) {
	r.moving.Lock()
	defer r.moving.Unlock()
	r.sink().meters().add(l)
}

// Stop keeps the layer's counts and forgets its states.
func (r *Reporter) Stop(l Reporting) {
	r.moving.Lock()
	r.sink().meters().retire(l)
	r.moving.Unlock()
	r.early.say(r.sink().log)
}

// Move has a layer report to another sink from now on; it takes its counts along. l is
// nil for a layer that has none.
func (r *Reporter) Move(to *Sink, l Reporting) {
	r.moving.Lock()
	from := r.sink().meters()
	r.given.Store(to)
	if l != nil {
		from.move(l, to.meters())
	}
	r.moving.Unlock()
	r.early.say(to.log)
}

// Warn has a line logged soon, one each ten seconds for one cause, and each where that is empty. It waits for nothing,
// so that it may be called under a lock; while the log hangs, 64 lines wait for it, and later ones are counted. The
// message and the attributes hold no session id, key or value (law 10).
func (r *Reporter) Warn(ctx context.Context, cause, message string, attributes ...slog.Attr) {
	r.log(warning{ctx, slog.LevelWarn, cause, message, attributes})
}

// Info has a line logged as Warn does.
func (r *Reporter) Info(ctx context.Context, cause, message string, attributes ...slog.Attr) {
	r.log(warning{ctx, slog.LevelInfo, cause, message, attributes})
}

func (r *Reporter) log(w warning) {
	if r.given.Load() != nil || !r.early.keep(w, r.overdue) {
		r.sink().log.log(w)
	}
}

// Flush returns when the lines that wait are written, or ctx ends.
func (r *Reporter) Flush(ctx context.Context) { r.sink().log.flush(ctx) }

// overdue logs the lines that have waited for a sink for too long.
func (r *Reporter) overdue() { r.early.say(standard.log) }

// Delayed records how long an invalidation took.
func (r *Reporter) Delayed(d time.Duration) {
	r.delayed(invalidationDelay, d)
}

// Differed records how long a session that differed from the store had been in memory.
func (r *Reporter) Differed(d time.Duration) {
	r.delayed(auditAge, d)
}

func (r *Reporter) delayed(name string, d time.Duration) {
	sink := r.sink()
	sink.delays.record(name, "", d)
	sink.meters().record(context.Background(), name, d)
}

// Delays returns the delays of the reporter's chain since the first call of Delays, which begins the measuring.
func (r *Reporter) Delays() []Delay { return r.sink().delays.all() }

// observed is a layer, or an adapter, that takes a sink.
type observed interface{ Report(to *Sink) }

// ReportTo gives a sink to a layer that takes one.
func ReportTo(layer any, to *Sink) {
	if o, ok := layer.(observed); ok {
		o.Report(to)
	}
}
