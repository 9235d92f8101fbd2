package trace

import (
	"context"
	"errors"

	"github.com/gogf/gf/v2/os/gsession"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// operation is the span around one operation:
//
//	ctx, op := s.begin(ctx, telemetry.Slide)
//	defer op.end()
//	until, err := s.Storage.Slide(ctx, id, ttl)
//	op.done(telemetry.OK, uncounted, err)
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
}

// uncounted is the number of keys where counting would cost something.
const uncounted = -1

func (s *Storage) begin(ctx context.Context, method telemetry.Operation) (context.Context, operation) {
	ctx, span := s.tracer.Start(ctx, method)
	return ctx, operation{span: span, storage: s}
}

// done notes how the operation ended.
func (o *operation) done(outcome telemetry.Outcome, keys int, err error) {
	o.returned, o.outcome, o.keys, o.err = true, outcome, keys, err
}

// end is to be deferred. It must stay a frame above span.End, which recovers, and
// records the text of a panic, where it is itself the deferred function.
func (o *operation) end() {
	if o.span == nil {
		return
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

// result is the outcome with the class of what went wrong. A disabled method
// is no failure: the store says how it wants to be used.
func (o *operation) result() (outcome telemetry.Outcome, errorType string) {
	switch {
	case !o.returned:
		return telemetry.Failed, telemetry.TypePanic
	case o.err == nil:
		return o.outcome, ""
	case errors.Is(o.err, gsession.ErrorDisabled):
		return telemetry.Disabled, ""
	case errors.Is(o.err, tiers.ErrRevoked):
		return telemetry.Revoked, failure.ErrorType(o.err)
	default:
		return telemetry.Failed, failure.ErrorType(o.err)
	}
}

// loaded is the outcome of a Load. That memory knows of no session says more than
// that there is none.
func loaded(read tiers.Read) telemetry.Outcome {
	if read.Snapshot == nil && read.Outcome != tiers.OutcomeNegative {
		return telemetry.Absent
	}
	return read.Outcome
}

// keysOf counts a snapshot's keys.
func keysOf(s *tiers.Snapshot) int {
	if s == nil {
		return uncounted
	}
	return s.Len()
}

// styleName is the style as telemetry names it, "" while it isn't known.
func styleName(style tiers.Style) string {
	switch style {
	case tiers.StyleSnapshot:
		return "snapshot"
	case tiers.StyleDirect:
		return "direct"
	case tiers.StyleOpaque:
		return "opaque"
	default:
		return ""
	}
}
