package layer_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
)

// A log-in and a request that reads, as the store sees them. GoFrame asks each store
// for single keys first; one that keeps whole sessions disables those calls, and they make
// no span.
//
// Programs leave TracerProvider out, call otel.SetTracerProvider at any time, and leave
// RootSpans out: spans then belong to the request's trace.
func ExampleTraced() {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))

	store := gsession.NewStorageMemory()
	chain := layer.Chain(store, layer.Traced(layer.TracerProvider(provider), layer.RootSpans()))

	ctx := context.Background()
	manager := gsession.New(time.Hour, chain)
	login := manager.New(ctx, "abc")
	login.MustSet("user", "john")
	_ = login.Close()
	read := manager.New(ctx, "abc")
	fmt.Println(read.MustGet("user"))
	_ = read.Close()

	for _, span := range spans.GetSpans() {
		for _, attribute := range span.Attributes {
			if attribute.Key == telemetry.OutcomeKey {
				fmt.Println(span.Name, attribute.Value.AsString())
			}
		}
	}
	// Output:
	// john
	// session Load ok
	// session Commit ok
	// session Load ok
	// session UpdateTTL ok
}
