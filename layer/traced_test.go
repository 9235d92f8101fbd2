package layer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
)

// tracedWith is the option of a provider whose spans end up in memory.
func tracedWith(t *testing.T) (*sdktrace.TracerProvider, layer.TracedOption, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, layer.TracerProvider(provider), exporter
}

// summary is what a span says: its name, the storage that was asked, and the outcome.
func summary(span tracetest.SpanStub) string {
	text := span.Name
	for _, key := range []string{"strata.storage", "strata.outcome"} {
		for _, attribute := range span.Attributes {
			if string(attribute.Key) == key {
				text += " " + attribute.Value.Emit()
			}
		}
	}
	return text
}

// underHandler makes a call within a handler's span, and returns what the spans
// below it say, each after its parent and indented by its depth.
func underHandler(provider *sdktrace.TracerProvider, exporter *tracetest.InMemoryExporter, call func(context.Context)) []string {
	exporter.Reset()
	ctx, handler := provider.Tracer("").Start(context.Background(), "handler")
	call(ctx)
	handler.End()

	var tree []string
	var below func(parent tracetest.SpanStub, indent string)
	spans := exporter.GetSpans()
	below = func(parent tracetest.SpanStub, indent string) {
		for _, span := range spans {
			if span.Parent.SpanID() == parent.SpanContext.SpanID() {
				tree = append(tree, indent+summary(span))
				below(span, indent+"> ")
			}
		}
	}
	below(spans[len(spans)-1], "")
	return tree
}

func TestTracedInsideAndOutsideOfLocal(t *testing.T) {
	provider, option, exporter := tracedWith(t)
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Traced(option), patientLocal(layer.MaxStale(time.Minute)), layer.Traced(option))
	defer func() { _ = chain.Close(context.Background()) }()
	const id = "inside-and-outside"
	read := func(ctx context.Context) {
		if m, err := chain.GetSession(ctx, id, time.Hour); err != nil || m.Get("user") != "john" {
			t.Errorf("read %v, %v", m, err)
		}
	}

	got := underHandler(provider, exporter, func(ctx context.Context) {
		session := gmap.NewStrAnyMapFrom(map[string]any{"user": "john"}, true)
		if err := chain.SetSession(ctx, id, session, time.Hour); err != nil {
			t.Fatal(err)
		}
	})
	want := []string{"session Commit *local.Storage ok", "> session Commit *gsession.StorageMemory ok"}
	if !slices.Equal(got, want) {
		t.Errorf("write: %q, want %q", got, want)
	}

	got = underHandler(provider, exporter, read)
	want = []string{"session Load *local.Storage miss", "> session Load *gsession.StorageMemory ok"}
	if !slices.Equal(got, want) {
		t.Errorf("first read: %q, want %q", got, want)
	}

	// The cache takes a new session in its own time.
	want = []string{"session Load *local.Storage hit"}
	if !poll.Try(func() bool { got = underHandler(provider, exporter, read); return slices.Equal(got, want) }) {
		t.Fatalf("later read: %q, want %q", got, want)
	}
}

func TestTracedOverADirectStore(t *testing.T) {
	provider, option, exporter := tracedWith(t)
	chain := layer.Chain(teststore.NewKeys(map[string]map[string]any{"direct": {}}), layer.Traced(option))
	got := underHandler(provider, exporter, func(ctx context.Context) {
		session := gsession.New(time.Hour, chain).New(ctx, "direct")
		session.MustSet("user", "john")
		if user := session.MustGet("user").String(); user != "john" {
			t.Errorf("read %q", user)
		}
		if err := session.Close(); err != nil {
			t.Fatal(err)
		}
	})
	const asked = " *teststore.Keys ok"
	want := []string{"session GetSession" + asked, "session Set" + asked, "session Get" + asked, "session SetSession" + asked}
	if !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
}

func TestOptionsOfTracedRefuseNil(t *testing.T) {
	for text, make := range map[string]func(){
		"layer.TracerProvider": func() { layer.TracerProvider(nil) },
		"layer.MeterProvider":  func() { layer.MeterProvider((*sdkmetric.MeterProvider)(nil)) },
		"layer.Logger":         func() { layer.Logger(nil) },
		"layer.Traced":         func() { layer.Traced(nil) },
	} {
		func() {
			defer func() {
				if message, _ := recover().(string); !strings.Contains(message, text) {
					t.Errorf("panic %q doesn't name %s", message, text)
				}
			}()
			make()
			t.Errorf("%s: no panic", text)
		}()
	}
}
