package trace

import (
	"reflect"

	"go.opentelemetry.io/otel/trace"
)

// Option configures a [Storage].
type Option func(*config)

// config is what the options have said; New alone holds it.
type config struct {
	provider trace.TracerProvider // nil: the global one
}

// TracerProvider names the provider of the spans, in place of the global one. It is
// used whatever it is, GoFrame's default provider included. It panics on nil, as
// that is a mistake in the program.
func TracerProvider(provider trace.TracerProvider) Option {
	if provider == nil || reflect.ValueOf(provider).Kind() == reflect.Pointer && reflect.ValueOf(provider).IsNil() {
		panic("strata: TracerProvider needs a provider; write layer.Traced() without it to use the global one, which otel.SetTracerProvider sets")
	}
	return func(c *config) { c.provider = provider }
}
