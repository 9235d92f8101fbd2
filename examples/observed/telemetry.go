package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/gogf/gf/contrib/metric/otelmetric/v2"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
)

// observe sets the global providers, as a program does once, and returns what sends the
// rest and ends them. Chains may be built before or after.
func observe(traces string) (end func(context.Context) error, err error) {
	endTraces, err := observeTraces(traces)
	if err != nil {
		return nil, err
	}
	// Registered where GoFrame's handler of /metrics gathers: Prometheus' default registry.
	exporter, err := prometheus.New()
	if err != nil {
		return nil, err
	}
	metrics, err := otelmetric.NewProvider(otelmetric.WithReader(exporter))
	if err != nil {
		return nil, err
	}
	metrics.SetAsGlobal() // of GoFrame and of OpenTelemetry
	return func(ctx context.Context) error {
		return errors.Join(endTraces(ctx), metrics.Shutdown(ctx))
	}, nil
}

// observeTraces sets no provider for "": GoFrame's default then stays, for which no layer
// makes a span.
func observeTraces(traces string) (end func(context.Context) error, err error) {
	var processor sdktrace.TracerProviderOption
	switch traces {
	case "":
		return func(context.Context) error { return nil }, nil
	case "print":
		exporter, err := stdouttrace.New(stdouttrace.WithWriter(os.Stdout))
		if err != nil {
			return nil, err
		}
		processor = sdktrace.WithSyncer(redacted{exporter})
	default:
		exporter, err := toCollector(traces)
		if err != nil {
			return nil, err
		}
		processor = sdktrace.WithBatcher(redacted{exporter})
	}
	provider := sdktrace.NewTracerProvider(processor, sdktrace.WithResource(described()))
	otel.SetTracerProvider(provider)
	return provider.Shutdown, nil
}

// toCollector sends by OTLP over HTTP. GoFrame's contrib/trace/otlphttp works with a chain
// as well, and takes one line:
//
//	end, err := otlphttp.Init("shop", "127.0.0.1:4318", "/v1/traces")
//
// It isn't used here, because it takes no URL (never https), and no exporter of ours: nothing
// can be taken out of GoFrame's span before it leaves.
func toCollector(endpoint string) (sdktrace.SpanExporter, error) {
	at, err := url.Parse(endpoint)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		// The text isn't quoted: it may hold a password.
		return nil, fmt.Errorf(`-traces is "print" or a URL such as http://127.0.0.1:4318; %w`, errUsage)
	}
	return otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(at.JoinPath("v1/traces").String()))
}

// described names this program; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say otherwise.
func described() *resource.Resource {
	name := resource.NewSchemaless(semconv.ServiceName("strata-observed"))
	all, err := resource.Merge(name, resource.Environment())
	if err != nil {
		return name
	}
	return all
}
