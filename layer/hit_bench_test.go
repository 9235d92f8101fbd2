package layer_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// BenchmarkHitObserved is a hit of Local alone, and what telemetry adds to it: Traced above
// it where there is no provider but OpenTelemetry's that does nothing, with GoFrame's default
// one, within a trace that isn't sampled and one that is. Metrics are on in all of them.
func BenchmarkHitObserved(b *testing.B) {
	provider := sdktrace.NewTracerProvider()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	parent := func(sampler sdktrace.Sampler) context.Context {
		ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler)).Tracer("").Start(context.Background(), "request")
		b.Cleanup(func() { span.End() })
		return ctx
	}
	unsampled, sampled := parent(sdktrace.NeverSample()), parent(sdktrace.AlwaysSample())
	traced := layer.Traced(layer.TracerProvider(provider), layer.MeterProvider(meters))
	metered := layer.Traced(layer.MeterProvider(meters)) // to the global tracer provider
	standard := otel.GetTracerProvider()                 // GoFrame's
	for _, c := range []struct {
		name   string
		global oteltrace.TracerProvider
		ctx    context.Context
		traced []layer.Decorator
	}{
		{"bare", standard, context.Background(), nil},
		{"Traced_no_provider", noop.NewTracerProvider(), context.Background(), []layer.Decorator{metered}},
		{"Traced_default_provider", standard, sampled, []layer.Decorator{metered}},
		{"Traced_unsampled", provider, unsampled, []layer.Decorator{traced}},
		{"Traced_sampled", provider, sampled, []layer.Decorator{traced}},
	} {
		b.Run(c.name, func(b *testing.B) {
			otel.SetTracerProvider(c.global)
			defer otel.SetTracerProvider(standard)
			store := teststore.New()
			chain := layer.Chain(store, append([]layer.Decorator{layer.Local(layer.Exclusive())}, c.traced...)...)
			defer func() { _ = chain.Close(context.Background()) }()
			const id = "a-session"
			store.Put(id, map[string]any{"user": "john"}, time.Hour)
			top := sessionmap.Adapt(chain.Unwrap())
			for hit := false; !hit; runtime.Gosched() {
				read, err := top.Load(c.ctx, id, time.Hour)
				if err != nil {
					b.Fatal(err)
				}
				hit = read.Outcome == tiers.OutcomeHit
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = top.Load(c.ctx, id, time.Hour)
			}
		})
	}
}
