package trace_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// BenchmarkLoad: where nothing is exported, Traced costs some tens of nanoseconds and
// allocates nothing; a sampled span costs what the SDK makes it cost.
func BenchmarkLoad(b *testing.B) {
	store := &scripted{style: tiers.StyleSnapshot, outcome: tiers.OutcomeHit, snapshot: snapshotOf()}
	provider := sdktrace.NewTracerProvider()
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	local, handler := provider.Tracer("").Start(b.Context(), "handler")
	defer handler.End()
	traced := trace.New(store, to(provider))

	for _, c := range []struct {
		name    string
		ctx     context.Context
		storage tiers.Storage
	}{
		{"bare", b.Context(), store},
		{"default_provider", b.Context(), trace.New(store, telemetry.Config{})},
		{"unsampled_parent", remote(b.Context(), 0), traced},
		{"no_parent", b.Context(), trace.New(store, telemetry.Config{Tracing: provider})},
		{"declined_root", b.Context(), trace.New(store, to(never))},
		{"sampled_root", b.Context(), traced},
		{"sampled_child", local, traced},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.storage.Load(c.ctx, secretID, ttl); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoadGlobal: a global provider costs no lock and no look-up of its tracer.
func BenchmarkLoadGlobal(b *testing.B) {
	setGlobal(b, sdktrace.NewTracerProvider())
	s := trace.New(&scripted{style: tiers.StyleSnapshot, snapshot: snapshotOf()}, telemetry.Config{Roots: true})
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"unsampled_parent", remote(b.Context(), 0)}, {"sampled_root", b.Context()}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Load(c.ctx, secretID, ttl)
			}
		})
	}
}
