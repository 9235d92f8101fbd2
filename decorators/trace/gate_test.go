package trace_test

import (
	"context"
	"testing"

	"github.com/gogf/gf/v2/net/gtrace"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// load makes one operation on a decorator over a store that has the session.
func load(ctx context.Context, t testing.TB, config telemetry.Config) {
	t.Helper()
	s := trace.New(&scripted{style: tiers.StyleSnapshot, snapshot: snapshotOf()}, config)
	if _, err := s.Load(ctx, secretID, ttl); err != nil {
		t.Fatal(err)
	}
}

// remote is a context as a propagator makes it.
func remote(ctx context.Context, flags oteltrace.TraceFlags) context.Context {
	return oteltrace.ContextWithRemoteSpanContext(ctx, oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: oteltrace.TraceID{1}, SpanID: oteltrace.SpanID{2}, TraceFlags: flags,
	}))
}

// setGlobal sets the global provider for the time of the test.
func setGlobal(t testing.TB, provider oteltrace.TracerProvider) {
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	otel.SetTracerProvider(provider)
}

func TestGoFramesDefaultProviderMakesNoSpans(t *testing.T) {
	if !gtrace.IsUsingDefaultProvider() {
		t.Fatal("GoFrame didn't install its provider")
	}
	_, exporter := recorder(t)
	processor := sdktrace.NewSimpleSpanProcessor(exporter)
	standard := otel.GetTracerProvider()
	standard.(interface {
		RegisterSpanProcessor(sdktrace.SpanProcessor)
	}).RegisterSpanProcessor(processor)
	t.Cleanup(func() {
		standard.(interface {
			UnregisterSpanProcessor(sdktrace.SpanProcessor)
		}).UnregisterSpanProcessor(processor)
	})

	load(t.Context(), t, telemetry.Config{Roots: true})
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("%d spans by default, want none", len(spans))
	}
	load(t.Context(), t, to(standard))
	if spans := exporter.GetSpans(); len(spans) != 1 {
		t.Errorf("%d spans of an explicit provider, want 1", len(spans))
	}
}

// Spans of GoFrame's default provider aren't exported: they are no parents, and samplers don't see them.
func TestASpanOfGoFramesDefaultProviderIsNoParent(t *testing.T) {
	ctx, request := otel.Tracer("").Start(t.Context(), "request")
	defer request.End()
	if !request.SpanContext().IsSampled() {
		t.Fatal("the default provider doesn't sample")
	}
	provider, exporter := recorder(t)
	load(ctx, t, telemetry.Config{Tracing: provider})
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("spans %v, children of a span that is never exported", spans)
	}
	lower := trace.New(&scripted{style: tiers.StyleSnapshot}, to(provider))
	_, _ = trace.New(lower, to(provider)).Load(ctx, secretID, ttl)
	spans := exporter.GetSpans()
	if len(spans) != 2 || spans[1].Parent.IsValid() || spans[0].Parent.SpanID() != spans[1].SpanContext.SpanID() ||
		spans[0].SpanContext.TraceID() == request.SpanContext().TraceID() {
		t.Errorf("spans %v, want a root and its child", spans)
	}
	few, exporter := recorder(t, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0))))
	load(ctx, t, to(few))
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Error("the sampler went by a span that is never exported")
	}
	var causes telemetry.Causes
	causes.Add(ctx)
	if causes.Attach(t.Context()) != t.Context() {
		t.Error("it is linked to")
	}
}

func TestGlobalProviderMayBeSetLater(t *testing.T) {
	s := trace.New(&scripted{style: tiers.StyleSnapshot}, telemetry.Config{Roots: true})
	for range 2 { // a provider that replaces another one is found as well
		provider, exporter := recorder(t)
		setGlobal(t, provider)
		for range 2 {
			_, _ = s.Load(t.Context(), secretID, ttl)
		}
		if spans := exporter.GetSpans(); len(spans) != 2 {
			t.Errorf("%d spans, want 2", len(spans))
		}
	}
}

func TestUnsampledParentMakesNoSpan(t *testing.T) {
	// A provider that would sample whatever it is asked.
	provider, exporter := recorder(t, sdktrace.WithSampler(sdktrace.AlwaysSample()))
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	local, _ := never.Tracer("").Start(t.Context(), "handler")
	for name, ctx := range map[string]context.Context{
		"local": local, "remote": remote(t.Context(), 0),
	} {
		load(ctx, t, to(provider))
		if spans := exporter.GetSpans(); len(spans) != 0 {
			t.Errorf("%s: %d spans, want none", name, len(spans))
		}
	}
}

func TestSampledParentHasAChild(t *testing.T) {
	provider, exporter := recorder(t)
	local, handler := provider.Tracer("").Start(t.Context(), "handler")
	ended, over := provider.Tracer("").Start(t.Context(), "handler")
	over.End()
	defer handler.End()
	for name, ctx := range map[string]context.Context{
		"local": local, "ended": ended, "remote": remote(t.Context(), oteltrace.FlagsSampled),
	} {
		exporter.Reset()
		load(ctx, t, to(provider))
		spans := exporter.GetSpans()
		if len(spans) != 1 {
			t.Fatalf("%s: %d spans, want 1", name, len(spans))
		}
		parent := oteltrace.SpanContextFromContext(ctx)
		if !spans[0].Parent.Equal(parent) || spans[0].SpanContext.TraceID() != parent.TraceID() {
			t.Errorf("%s: child of %v, want of %v", name, spans[0].Parent, parent)
		}
	}
}

func TestNoOrphansUnlessAskedFor(t *testing.T) {
	provider, exporter := recorder(t)
	load(t.Context(), t, telemetry.Config{Tracing: provider})
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("spans %v without a parent", spans)
	}
	load(t.Context(), t, telemetry.Config{Tracing: provider, Roots: true})
	if spans := exporter.GetSpans(); len(spans) != 1 || spans[0].Parent.IsValid() {
		t.Errorf("spans %v, want a root", spans)
	}
}

// asked counts what a sampler is asked.
type asked struct {
	sdktrace.Sampler
	times int
}

func (a *asked) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	a.times++
	return a.Sampler.ShouldSample(p)
}

func TestDeclinedRootIsDeclinedBelowToo(t *testing.T) {
	sampler := &asked{Sampler: sdktrace.NeverSample()}
	provider, exporter := recorder(t, sdktrace.WithSampler(sampler))
	lower := trace.New(&scripted{style: tiers.StyleSnapshot}, to(provider))
	_, _ = trace.New(lower, to(provider)).Load(t.Context(), secretID, ttl)
	if spans := exporter.GetSpans(); len(spans) != 0 || sampler.times != 1 {
		t.Errorf("%d spans, sampler asked %d times, want 0 and 1", len(spans), sampler.times)
	}
}

func TestNothingIsAllocatedWhereNothingIsExported(t *testing.T) {
	provider, _ := recorder(t)
	unsampled := remote(t.Context(), 0)
	bare := &scripted{style: tiers.StyleDirect, snapshot: snapshotOf(), data: map[string]any{"a": 1}}
	for _, method := range methods(t) {
		allocated := func(ctx context.Context, s tiers.Storage) float64 {
			return testing.AllocsPerRun(100, func() { _ = method.call(ctx, s) })
		}
		want := allocated(unsampled, bare)
		if got := allocated(unsampled, trace.New(bare, to(provider))); got > want {
			t.Errorf("%s, unsampled: %v allocations, want %v", method.name, got, want)
		}
		if got := allocated(t.Context(), trace.New(bare, telemetry.Config{})); got > want {
			t.Errorf("%s, default provider: %v allocations, want %v", method.name, got, want)
		}
	}
}
