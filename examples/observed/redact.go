package main

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// redacted exports spans without the headers that GoFrame's server span quotes in its events:
// a person who reads the Cookie among them can take over that session. It needs a place before
// any exporter, also in programs without Strata.
type redacted struct{ sdktrace.SpanExporter }

func (r redacted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	clean := make([]sdktrace.ReadOnlySpan, len(spans))
	for n, span := range spans {
		clean[n] = headless{span}
	}
	return r.SpanExporter.ExportSpans(ctx, clean)
}

// headless is a span whose events quote no headers. The span itself stays as it is, since
// other processors may read it.
type headless struct{ sdktrace.ReadOnlySpan }

func (h headless) Events() []sdktrace.Event {
	events := slices.Clone(h.ReadOnlySpan.Events())
	for n := range events {
		events[n].Attributes = slices.DeleteFunc(slices.Clone(events[n].Attributes), quotesHeaders)
	}
	return events
}

func quotesHeaders(a attribute.KeyValue) bool {
	return a.Key == "http.request.headers" || a.Key == "http.response.headers"
}
