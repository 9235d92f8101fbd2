package telemetry

import (
	"context"
	"reflect"
	"sync/atomic"

	"github.com/gogf/gf/v2/net/gtrace"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes the spans of one layer, where somebody will look at them. It is safe
// for concurrent use.
//
// explicit, roots and options are set at construction; global is atomic.
type Tracer struct {
	explicit trace.Tracer // nil: the global provider's, whichever that is by then
	roots    bool
	global   atomic.Pointer[resolved]
	options  [operations][]trace.SpanStartOption
}

// resolved is a tracer of a global provider. It is immutable.
type resolved struct {
	provider trace.TracerProvider // a pointer, so that it can be compared
	tracer   trace.Tracer
}

// NewTracer makes a tracer whose spans carry the attributes and their operation.
// Where no provider is named, the global one of the moment of each operation is used:
// programs set theirs after their chains are built.
func NewTracer(config Config, attributes ...attribute.KeyValue) *Tracer {
	t := &Tracer{roots: config.roots}
	if config.tracing != nil {
		t.explicit = config.tracing.Tracer(Scope)
	}
	for op := range operations {
		all := append([]attribute.KeyValue{OperationKey.String(op.String())}, attributes...)
		t.options[op] = []trace.SpanStartOption{
			trace.WithSpanKind(trace.SpanKindInternal),
			trace.WithAttributes(all...),
		}
	}
	return t
}

// Wants reports whether a span in this context has a chance to be exported. It has none
// where
//
//   - the context belongs to no trace, unless [RootSpans] was asked for,
//   - its trace isn't sampled, or
//   - the provider would be the one that GoFrame installs when none is set: it
//     samples everything and exports nothing.
//
// It allocates nothing.
func (t *Tracer) Wants(ctx context.Context) bool {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		// A parent of this process that has ended, or one of another process, doesn't
		// record; its flag tells.
		origin := parent.SpanContext()
		if !origin.IsSampled() && (origin.IsValid() || !t.roots) {
			return false
		}
	}
	return t.explicit != nil || !gtrace.IsUsingDefaultProvider()
}

// Start starts the span of an operation that [Tracer.Wants] was asked for, to be ended
// by the caller. Should the provider's sampler decline it, Start answers nil and a
// context that says so to the layers below.
func (t *Tracer) Start(ctx context.Context, op Operation) (context.Context, trace.Span) {
	options := t.options[op]
	if links := linksOf(ctx); len(links) > 0 {
		options = append(options[:len(options):len(options)], trace.WithLinks(links...))
	}
	ctx, span := t.tracer().Start(ctx, op.SpanName(), options...)
	if !span.IsRecording() {
		span.End()
		return ctx, nil
	}
	return ctx, span
}

// tracer asks a provider once; providers look tracers up under a lock.
func (t *Tracer) tracer() trace.Tracer {
	if t.explicit != nil {
		return t.explicit
	}
	provider := otel.GetTracerProvider()
	if last := t.global.Load(); last != nil && last.provider == provider {
		return last.tracer
	}
	tracer := provider.Tracer(Scope)
	if reflect.TypeOf(provider).Kind() == reflect.Pointer {
		t.global.Store(&resolved{provider: provider, tracer: tracer})
	}
	return tracer
}
