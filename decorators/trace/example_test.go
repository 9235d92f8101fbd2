package trace_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
)

// Programs write layer.Chain(store, layer.Traced()).
func ExampleNew() {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	traced := trace.New(gsession.NewStorageMemory(), telemetry.Config{Tracing: provider, Roots: true})
	_, _ = traced.Load(context.Background(), "an-id", time.Hour)
	fmt.Println(spans.GetSpans()[0].Name)
	// Output: session Load
}
