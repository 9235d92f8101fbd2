package telemetry_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/telemetry"
)

// request is the context of a request whose span is over.
func request(provider trace.TracerProvider) (context.Context, trace.SpanContext) {
	ctx, span := provider.Tracer("").Start(context.Background(), "request")
	span.End()
	return ctx, span.SpanContext()
}

// The span of work for three requests is a child of the first that is sampled, and linked to all;
// spans below it have no links.
func TestCausesAreLinkedOnce(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	unsampled, _ := request(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))
	first, one := request(provider)
	second, two := request(provider)
	var causes, others telemetry.Causes
	causes.Add(unsampled)
	causes.Add(first)
	others.Add(second)
	causes.Merge(others)
	exporter.Reset()

	tracer := telemetry.NewTracer(telemetry.Config{Tracing: provider})
	ctx := causes.Attach(context.Background())
	if !tracer.Wants(ctx) {
		t.Fatal("no span is wanted for sampled requests")
	}
	ctx, outer := tracer.Start(ctx, telemetry.CommitAll)
	_, inner := tracer.Start(ctx, telemetry.Commit)
	inner.End()
	outer.End()
	spans := exporter.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	below, above := spans[0], spans[1]
	if above.Parent.SpanID() != one.SpanID() || len(above.Links) != 2 ||
		above.Links[0].SpanContext.SpanID() != one.SpanID() || above.Links[1].SpanContext.SpanID() != two.SpanID() {
		t.Errorf("the span is below %v and linked to %v", above.Parent.SpanID(), above.Links)
	}
	if len(below.Links) != 0 {
		t.Errorf("a span below is linked to %v", below.Links)
	}
}

func TestOneCauseIsTheParentAlone(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	first, one := request(provider)
	exporter.Reset()
	var causes telemetry.Causes
	causes.Add(first)
	_, span := telemetry.NewTracer(telemetry.Config{Tracing: provider}).
		Start(causes.Attach(context.Background()), telemetry.Commit)
	span.End()
	if spans := exporter.GetSpans(); len(spans) != 1 || !spans[0].Parent.Equal(one) || len(spans[0].Links) != 0 {
		t.Errorf("spans %v", spans)
	}
}

func TestCausesAreBounded(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	var causes, all telemetry.Causes
	for range 20 {
		ctx, _ := request(provider)
		causes.Add(ctx)
	}
	for range 4 {
		all.Merge(causes)
	}
	exporter.Reset()
	_, span := telemetry.NewTracer(telemetry.Config{Tracing: provider}).
		Start(all.Attach(context.Background()), telemetry.Commit)
	span.End()
	if spans := exporter.GetSpans(); len(spans) != 1 || len(spans[0].Links) != 32 {
		t.Errorf("%d links, want 32", len(spans[0].Links))
	}
}

// Only the spans of requests are kept.
func TestCausesKeepOnlySpans(t *testing.T) {
	type key struct{}
	provider := sdktrace.NewTracerProvider()
	traced, _ := request(provider)
	ctx, cancel := context.WithCancel(context.WithValue(traced, key{}, 1))
	var causes telemetry.Causes
	causes.Add(ctx)
	cancel()
	if later := causes.Attach(context.Background()); later.Err() != nil || later.Value(key{}) != nil {
		t.Error("the context of a request is kept")
	}
}

// No part of a request's headers is kept, such as the state of a trace.
func TestCausesKeepNoHeader(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
	provider := sdktrace.NewTracerProvider()
	ctx, span := provider.Tracer("").Start(trace.ContextWithRemoteSpanContext(context.Background(), remote), "request")
	span.End()
	if span.SpanContext().TraceState().Len() == 0 {
		t.Fatal("the request's span has no state")
	}
	var causes telemetry.Causes
	causes.Add(ctx)
	kept := trace.SpanContextFromContext(causes.Attach(context.Background()))
	if kept.SpanID() != span.SpanContext().SpanID() || kept.TraceState().Len() != 0 {
		t.Errorf("kept %v with a state of %d, want the request's span and no state", kept.SpanID(), kept.TraceState().Len())
	}
}
