package telemetry

import (
	"log/slog"
	"reflect"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option says where the telemetry of a chain goes. It is given to layer.Traced.
type Option func(*Config)

// Config is what options have said.
type Config struct {
	tracing  trace.TracerProvider // nil: the global one
	roots    bool                 // spans without a parent are made
	metering metric.MeterProvider // nil: the global one
	logger   *slog.Logger         // nil: GoFrame's default log
}

// Configure applies options.
func Configure(opts ...Option) Config {
	var c Config
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Traced is nil; pass what a constructor returns, or leave it out")
		}
		opt(&c)
	}
	return c
}

// TracerProvider names the provider of the spans, in place of the global one. It is
// used whatever it is, GoFrame's default provider included. It panics on nil, as
// that is a mistake in the program.
func TracerProvider(provider trace.TracerProvider) Option {
	if absent(provider) {
		panic("strata: TracerProvider needs a provider; write layer.Traced() without it to use the global one, which otel.SetTracerProvider sets")
	}
	return func(c *Config) { c.tracing = provider }
}

// RootSpans makes spans also where the context belongs to no trace: each operation then
// begins one of its own.
func RootSpans() Option { return func(c *Config) { c.roots = true } }

// MeterProvider names the provider of the metrics of all layers of the chain, in place
// of the global one. It panics on nil.
func MeterProvider(provider metric.MeterProvider) Option {
	if absent(provider) {
		panic("strata: MeterProvider needs a provider; write layer.Traced() without it to use the global one, which otel.SetMeterProvider sets")
	}
	return func(c *Config) { c.metering = provider }
}

// Logger takes the log of all layers of the chain, in place of GoFrame's default one. It
// panics on nil.
func Logger(logger *slog.Logger) Option {
	if logger == nil {
		panic("strata: Logger needs a logger; write layer.Traced() without it to log where glog does")
	}
	return func(c *Config) { c.logger = logger }
}

// Sink is where the layers are to report, nil where no option has said so.
func (c Config) Sink() *Sink {
	if c.metering == nil && c.logger == nil {
		return nil
	}
	return newSink(c.metering, c.logger)
}

func absent(provider any) bool {
	v := reflect.ValueOf(provider)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
