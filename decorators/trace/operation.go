package trace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// operation is the span around one operation:
//
//	if !s.tracer.Wants(ctx) {
//		return s.inner.Get(ctx, id, key)
//	}
//	ctx, op := s.begin(ctx, telemetry.Get)
//	defer op.end()
//	value, err := s.inner.Get(ctx, id, key)
//	op.done(found(value != nil), uncounted, err)
//
// It is a value on the stack of the operation, whose goroutine alone uses it. An end
// without done is a panic.
type operation struct {
	span     trace.Span // nil: the sampler declined it
	storage  *Storage
	returned bool
	outcome  telemetry.Outcome // how it ended if err is nil
	keys     int
	bytes    int64 // of the snapshot in memory, 0 where that isn't known
	err      error
	answer   *telemetry.Served // nil: the result tells the outcome
}

// uncounted is the number of keys where counting would cost something.
const uncounted = -1

func (s *Storage) begin(ctx context.Context, method telemetry.Operation) (context.Context, operation) {
	ctx, span := s.tracer.Start(ctx, method)
	return ctx, operation{span: span, storage: s}
}

// beginRead begins a read whose result doesn't tell whether memory has answered it.
func (s *Storage) beginRead(ctx context.Context, method telemetry.Operation) (context.Context, operation) {
	ctx, op := s.begin(ctx, method)
	if op.span != nil {
		ctx, op.answer = telemetry.WithServed(ctx)
	}
	return ctx, op
}

// done takes down how the operation ended.
func (o *operation) done(outcome telemetry.Outcome, keys int, err error) {
	o.returned, o.outcome, o.keys, o.err = true, outcome, keys, err
}

// end is to be deferred. It must stay a frame above span.End, which recovers, and
// records the text of a panic, where it is itself the deferred function.
func (o *operation) end() {
	if o.span == nil {
		return
	}
	if o.answer != nil {
		o.outcome = o.answer.Or(o.outcome)
	}
	outcome, errorType := o.result()
	attributes := make([]attribute.KeyValue, 1, 5)
	attributes[0] = telemetry.OutcomeKey.String(outcome.String())
	if style := styleName(tiers.Style(o.storage.style.Load())); style != "" {
		attributes = append(attributes, telemetry.StyleKey.String(style))
	}
	if o.returned && o.err == nil && o.keys != uncounted {
		attributes = append(attributes, telemetry.KeysKey.Int(o.keys))
	}
	if o.bytes > 0 {
		attributes = append(attributes, telemetry.BytesKey.Int64(o.bytes))
	}
	if errorType != "" {
		attributes = append(attributes, telemetry.ErrorTypeKey.String(errorType))
	}
	o.span.SetAttributes(attributes...)
	if outcome.Failure() {
		o.span.SetStatus(codes.Error, "")
	}
	o.span.End()
}
