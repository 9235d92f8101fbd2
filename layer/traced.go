package layer

import (
	"log/slog"

	"github.com/gogf/gf/v2/os/gsession"
	"go.opentelemetry.io/otel/metric"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/telemetry"
)

// TracedOption sets up Traced.
type TracedOption func(*telemetry.Config)

// Traced makes an OpenTelemetry span of every operation that passes it, named
// "session Load" and so on, with the outcome: hit, miss, negative, absent, ok,
// disabled, revoked or error. Package telemetry lists all names. As the last
// decorator it shows what the requests see, as the first what the store is asked;
// it may stand in a chain more than once. It also says where the metrics and the log of
// all layers of its chain go; both are there without it too, and go to the global meter
// provider and to GoFrame's default log.
//
// No session id, key, value or error text is recorded (law 10). ErrorDisabled and
// a missing session are no failures.
//
// The spans go to the global provider of the moment, so that otel.SetTracerProvider
// may come after Chain. No span is made while that provider is the one that GoFrame
// installs by default, which exports nothing, within a trace that isn't sampled, and
// where the context belongs to no trace, unless RootSpans is given; such an operation
// allocates nothing for it. ghttp gives storages a context without the span that it made
// for the request: a middleware that sets r.Session = manager.New(r.GetNeverDoneCtx(), id)
// has them nest, and examples/observed shows all of it: ghttp closes that session once more
// after the response, and its server span quotes the cookie with the session's id.
func Traced(opts ...TracedOption) Decorator {
	var config telemetry.Config
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Traced is nil; pass what a constructor returns, or leave it out")
		}
		opt(&config)
	}
	return func(inner gsession.Storage) gsession.Storage { return trace.New(inner, config) }
}

// TracerProvider has [Traced] use this provider in place of the global one, and
// always: GoFrame's default provider is then used as well. A trace that isn't
// sampled stays so, and the spans that GoFrame's default provider makes are no
// parents to those of another, as they are never exported. It panics on nil; leave the
// option out to use the global one.
func TracerProvider(provider oteltrace.TracerProvider) TracedOption {
	if value.IsNil(provider) {
		panic("strata: layer.TracerProvider needs a provider; write layer.Traced() without it to use the global one, which otel.SetTracerProvider sets")
	}
	return func(c *telemetry.Config) { c.Tracing = provider }
}

// RootSpans makes spans also where the context belongs to no trace: each operation then
// begins one of its own.
func RootSpans() TracedOption { return func(c *telemetry.Config) { c.Roots = true } }

// MeterProvider has all layers of the chain send their metrics to this provider, in place
// of the global one. Of several [Traced] in a chain the outermost that names a meter
// provider or a logger speaks for both. It panics on nil.
func MeterProvider(provider metric.MeterProvider) TracedOption {
	if value.IsNil(provider) {
		panic("strata: layer.MeterProvider needs a provider; write layer.Traced() without it to use the global one, which otel.SetMeterProvider sets")
	}
	return func(c *telemetry.Config) { c.Metering = provider }
}

// Logger has all layers of the chain log there, in place of GoFrame's default log. One
// line is written each ten seconds for one cause. It panics on nil.
func Logger(logger *slog.Logger) TracedOption {
	if logger == nil {
		panic("strata: layer.Logger needs a logger; write layer.Traced() without it to log where glog does")
	}
	return func(c *telemetry.Config) { c.Logger = logger }
}
