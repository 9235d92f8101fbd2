package layer

import (
	"github.com/gogf/gf/v2/os/gsession"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/decorators/trace"
)

// TracedOption configures [Traced].
type TracedOption = trace.Option

// Traced makes an OpenTelemetry span of every operation that passes it, named
// "session Load" and so on, with the outcome: hit, miss, negative, absent, ok,
// disabled, revoked or error. Package telemetry lists all names. As the last
// decorator it shows what the requests see, as the first what the store is asked;
// it may stand in a chain more than once.
//
// No session id, key, value or error text is recorded (law 10). ErrorDisabled and
// a missing session are no failures.
//
// The spans go to the global provider of the moment, so that otel.SetTracerProvider
// may come after Chain. No span is made while that provider is the one that GoFrame
// installs by default, which exports nothing, or within a trace that isn't sampled;
// such an operation allocates nothing for it. An operation whose context holds no
// span begins a trace of its own: ghttp gives storages such a context.
func Traced(opts ...TracedOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return trace.New(inner, opts...) }
}

// TracerProvider has [Traced] use this provider in place of the global one, and
// always: GoFrame's default provider is then used as well. A trace that isn't
// sampled stays so. It panics on nil; leave the option out to use the global one.
func TracerProvider(provider oteltrace.TracerProvider) TracedOption {
	return trace.TracerProvider(provider)
}
