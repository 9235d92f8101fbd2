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

// Tracer makes the spans of one layer, if they have a chance to be exported. It is safe
// for concurrent use.
//
// provider, explicit, roots and options are set at construction; global is atomic.
type Tracer struct {
	provider trace.TracerProvider // nil: the global one at the time of an operation
	explicit trace.Tracer         // that provider's
	roots    bool
	global   atomic.Pointer[resolved]
	options  [operations][]trace.SpanStartOption
}

// resolved is a tracer of a global provider. It is immutable.
type resolved struct {
	provider trace.TracerProvider // a pointer, so that it can be compared
	tracer   trace.Tracer
}

// exportless is GoFrame's default provider, and the provider that its spans name: GoFrame
// doesn't export the type. It is immutable.
type exportless struct{ provider, own trace.TracerProvider }

var scopeVersion = trace.WithInstrumentationVersion(Version)

var goframes atomic.Pointer[exportless]

// NewTracer makes a tracer whose spans carry the attributes and their operation.
// Where no provider is named, the global one of the moment of each operation is used:
// programs set theirs after their chains are built.
func NewTracer(config Config, attributes ...attribute.KeyValue) *Tracer {
	t := &Tracer{roots: config.Roots, provider: config.Tracing}
	if config.Tracing != nil {
		t.explicit = config.Tracing.Tracer(Scope, scopeVersion)
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
//   - the context belongs to no trace, unless layer.RootSpans was asked for,
//   - its trace isn't sampled, or
//   - the provider would be the one that GoFrame installs if none is set: it samples
//     everything and exports nothing. Its spans are no parents either.
//
// It allocates nothing.
func (t *Tracer) Wants(ctx context.Context) bool {
	if t.explicit == nil && gtrace.IsUsingDefaultProvider() {
		return false
	}
	span := trace.SpanFromContext(ctx)
	parent := span.SpanContext()
	if parent.IsSampled() && (t.roots || !t.orphans(span)) {
		return true
	}
	return t.roots && !parent.IsValid()
}

// orphans reports whether a child of the span would have a parent that isn't exported.
func (t *Tracer) orphans(span trace.Span) bool {
	return unseen(span) && t.provider != otel.GetTracerProvider()
}

// unseen reports whether a span is one of GoFrame's default provider.
func unseen(span trace.Span) bool {
	if !gtrace.IsUsingDefaultProvider() {
		return false
	}
	provider := otel.GetTracerProvider()
	last := goframes.Load()
	if last == nil || last.provider != provider {
		_, probe := provider.Tracer(Scope, scopeVersion).Start(context.Background(), "")
		probe.End()
		last = &exportless{provider: provider, own: probe.TracerProvider()}
		goframes.Store(last)
	}
	return span.TracerProvider() == last.own
}

// Start starts the span of an operation that [Tracer.Wants] was asked for, to be ended
// by the caller. Should the provider's sampler decline it, Start returns nil and a
// context that says so to the layers below.
func (t *Tracer) Start(ctx context.Context, op Operation) (context.Context, trace.Span) {
	options := t.options[op]
	if t.orphans(trace.SpanFromContext(ctx)) {
		ctx = trace.ContextWithSpan(ctx, nil)
	}
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
	tracer := provider.Tracer(Scope, scopeVersion)
	if reflect.TypeOf(provider).Kind() == reflect.Pointer {
		t.global.Store(&resolved{provider: provider, tracer: tracer})
	}
	return tracer
}
