package layer_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// BenchmarkHitObserved is a hit of Local alone, and what telemetry adds to it: Traced above
// it without a provider, with GoFrame's default one, within a trace that isn't sampled and
// one that is. Metrics are on in all of them.
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
	for _, c := range []struct {
		name   string
		ctx    context.Context
		traced []layer.Decorator
	}{
		{"bare", context.Background(), nil},
		{"Traced", context.Background(), []layer.Decorator{traced}},
		{"Traced_default_provider", sampled, []layer.Decorator{layer.Traced()}},
		{"Traced_unsampled", unsampled, []layer.Decorator{traced}},
		{"Traced_sampled", sampled, []layer.Decorator{traced}},
	} {
		b.Run(c.name, func(b *testing.B) {
			store := teststore.New()
			chain := layer.Chain(store, append([]layer.Decorator{layer.Local(layer.Exclusive())}, c.traced...)...)
			defer func() { _ = chain.Close(context.Background()) }()
			const id = "a-session"
			store.Put(id, map[string]any{"user": "john"}, time.Hour)
			top := tiers.Of(chain.Unwrap())
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
