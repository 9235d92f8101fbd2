package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// maxCauses bounds the spans that one is linked to; more are left out.
const maxCauses = 32

// Causes are the requests for which an operation is done once for all of them, or later. Only
// the span of each request is kept. The zero value is ready; it isn't safe for concurrent use.
type Causes struct{ spans []trace.SpanContext }

// Add adds the request of a context, if its trace is sampled.
func (c *Causes) Add(ctx context.Context) {
	span := trace.SpanFromContext(ctx)
	if span.SpanContext().IsSampled() && len(c.spans) < maxCauses && !unseen(span) {
		// The trace's state comes from a header, and may hold anything.
		c.spans = append(c.spans, span.SpanContext().WithTraceState(trace.TraceState{}))
	}
}

// Merge adds the causes of another.
func (c *Causes) Merge(other Causes) {
	c.spans = append(c.spans, other.spans[:min(len(other.spans), maxCauses-len(c.spans))]...)
}

// Attach makes the next span in the context a child of the context's own, or else of the
// first cause's, and links it to all causes where there are several.
func (c *Causes) Attach(ctx context.Context) context.Context {
	if len(c.spans) == 0 {
		return ctx
	}
	parent := trace.SpanContextFromContext(ctx)
	if !parent.IsSampled() {
		parent = c.spans[0]
		ctx = trace.ContextWithSpanContext(ctx, parent)
	}
	if len(c.spans) == 1 {
		return ctx
	}
	next := &causes{parent: parent.SpanID(), links: make([]trace.Link, len(c.spans))}
	for n, span := range c.spans {
		next.links[n] = trace.Link{SpanContext: span}
	}
	return context.WithValue(ctx, causesKey{}, next)
}

type causesKey struct{}

// causes are the links of the next span below the parent. They are immutable.
type causes struct {
	parent trace.SpanID
	links  []trace.Link
}

// linksOf returns the links for the next span in the context; spans below that one have none.
func linksOf(ctx context.Context) []trace.Link {
	next, _ := ctx.Value(causesKey{}).(*causes)
	if next == nil || trace.SpanContextFromContext(ctx).SpanID() != next.parent {
		return nil
	}
	return next.links
}
