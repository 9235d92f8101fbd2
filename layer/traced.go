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

// Traced makes an OpenTelemetry span for every operation that passes it, named "session Load" and so on,
// with the outcome: hit, miss, negative, absent, ok, disabled, revoked or error. Package telemetry lists
// all names. As the last decorator it shows the requests' view, as the first the store's; it may stand in
// a chain more than once. It also sets where the metrics and the log of all layers of its chain go.
// Without it these go to the first global meter provider and to GoFrame's default log.
//
// No session id, key, value or error text is recorded (law 10). ErrorDisabled and
// a missing session are no failures.
//
// The spans go to the present global provider, so that otel.SetTracerProvider may come after Chain. No
// span is made while that is GoFrame's default provider, which exports nothing; within a trace that
// isn't sampled; or if the context belongs to no trace, except with RootSpans. Such an operation
// allocates nothing for tracing. With web.Sessions the spans nest under the request's; ghttp alone gives
// storages a context without its span. Its server span quotes the cookie with the session's id:
// examples/observed drops that.
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

// TracerProvider has [Traced] use this provider in place of the global one, also if it is GoFrame's
// default provider. A trace that isn't sampled stays so. Spans of GoFrame's default provider are no
// parents of another provider's, as they are never exported. It panics on nil; leave the option out to
// use the global provider.
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
