package trace_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"testing"

	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

func TestEveryOperationHasASpan(t *testing.T) {
	text := "no such " + secretID + ": " + secretValue
	cases := []struct {
		name, outcome, errorType string
		err                      error
		fault                    any
	}{
		{name: "ok", outcome: "ok"},
		{name: "disabled", outcome: "disabled", err: gsession.ErrorDisabled},
		{name: "disabled, wrapped", outcome: "disabled", err: gerror.Wrap(gsession.ErrorDisabled, text)},
		{name: "revoked", outcome: "revoked", errorType: "revoked", err: fmt.Errorf("%s: %w", text, tiers.ErrRevoked)},
		{name: "cancelled", outcome: "error", errorType: "context_canceled", err: gerror.Wrap(context.Canceled, text)},
		{name: "late", outcome: "error", errorType: "deadline_exceeded", err: tiers.NewError("late", context.DeadlineExceeded)},
		{name: "typed", outcome: "error", errorType: "*net.AddrError", err: gerror.Wrap(&net.AddrError{Err: text}, text)},
		{name: "joined", outcome: "error", errorType: "*net.AddrError", err: errors.Join(&net.AddrError{Err: text}, errors.New(text))},
		{name: "plain", outcome: "error", errorType: "*errors.errorString", err: errors.New(text)},
		{name: "panic", outcome: "error", errorType: "panic", fault: errors.New(text)},
		{name: "panic with a text", outcome: "error", errorType: "panic", fault: text},
	}
	provider, exporter := recorder(t)
	for _, method := range methods(t) {
		for _, c := range cases {
			t.Run(method.name+"/"+c.name, func(t *testing.T) {
				exporter.Reset()
				store := &scripted{
					style: method.style, snapshot: snapshotOf(), data: map[string]any{secretKey: secretValue},
					err: c.err, fault: c.fault,
				}
				err, fault := safely(func() error {
					return method.call(t.Context(), trace.New(store, to(provider)))
				})
				if err != c.err || fault != c.fault {
					t.Errorf("returned (%v, panic %v), want (%v, panic %v)", err, fault, c.err, c.fault)
				}

				spans := exporter.GetSpans()
				if len(spans) != 1 {
					t.Fatalf("%d spans, want 1", len(spans))
				}
				span := spans[0]
				want := map[string]string{
					"strata.operation": method.name,
					"strata.outcome":   c.outcome,
					"strata.storage":   "*trace_test.scripted",
				}
				if c.errorType != "" {
					want["error.type"] = c.errorType
				}
				if c.outcome == "ok" && method.keys != "" {
					want["strata.keys"] = method.keys
				}
				if c.outcome == "ok" && method.name == "Load" {
					want["strata.bytes"] = strconv.FormatInt(snapshotOf().Size(), 10)
				}
				switch method.name {
				case "Load", "Commit", "Slide", "UpdateTTL", "RemoveAll":
				default:
					want["strata.style"] = "direct"
				}
				if got := attributes(span); !reflect.DeepEqual(got, want) {
					t.Errorf("attributes %v, want %v", got, want)
				}
				if want := "session " + method.name; span.Name != want {
					t.Errorf("named %q, want %q", span.Name, want)
				}
				if span.SpanKind != oteltrace.SpanKindInternal || span.InstrumentationScope.Name != telemetry.Scope {
					t.Errorf("kind %v, scope %q", span.SpanKind, span.InstrumentationScope.Name)
				}
				if failed := span.Status.Code == codes.Error; failed != (c.errorType != "") || span.Status.Description != "" {
					t.Errorf("status %+v", span.Status)
				}
				if inner := oteltrace.SpanContextFromContext(store.seen); inner.SpanID() != span.SpanContext.SpanID() && c.fault == nil {
					t.Error("the inner storage didn't get the span's context")
				}
				assertPrivate(t, spans)
			})
		}
	}
}

// safely reports a panic instead of spreading it.
//
//lint:ignore ST1008 the panic is what comes last
func safely(f func() error) (err error, fault any) {
	defer func() { fault = recover() }()
	return f(), nil
}

func TestASpanOfLoadSaysHowItWasServed(t *testing.T) {
	there, none := snapshotOf(), (*tiers.Snapshot)(nil)
	cases := []struct {
		outcome  tiers.Outcome
		snapshot *tiers.Snapshot
		want     string
	}{
		{tiers.OutcomeStore, there, "ok"},
		{tiers.OutcomeStore, none, "absent"},
		{tiers.OutcomeHit, there, "hit"},
		{tiers.OutcomeMiss, there, "miss"},
		{tiers.OutcomeMiss, none, "absent"},
		{tiers.OutcomeNegative, none, "negative"},
	}
	provider, exporter := recorder(t)
	for _, c := range cases {
		exporter.Reset()
		store := &scripted{style: tiers.StyleSnapshot, outcome: c.outcome, snapshot: c.snapshot}
		read, err := trace.New(store, to(provider)).Load(t.Context(), secretID, ttl)
		if read.Snapshot != c.snapshot || read.Outcome != c.outcome || err != nil {
			t.Errorf("%v: returned %v, %v", c.outcome, read, err)
		}
		got := attributes(exporter.GetSpans()[0])
		if _, counted := got["strata.keys"]; got["strata.outcome"] != c.want || counted != (c.snapshot != nil) {
			t.Errorf("%v: attributes %v, want outcome %q", c.outcome, got, c.want)
		}
	}
}

func TestReadsOfADirectStoreSayWhetherAValueIsAbsent(t *testing.T) {
	provider, exporter := recorder(t)
	s := trace.New(&scripted{style: tiers.StyleDirect}, to(provider))
	for _, method := range methods(t) {
		switch method.name {
		case "Get", "GetSize", "Data", "GetSession":
		default:
			continue
		}
		exporter.Reset()
		if err := method.call(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got := attributes(exporter.GetSpans()[0]); got["strata.outcome"] != "absent" {
			t.Errorf("%s of nothing: %v", method.name, got)
		}
	}
}

func TestTheStyleIsPassedOnAndIsInTheSpan(t *testing.T) {
	provider, exporter := recorder(t)
	for style, want := range map[tiers.Style]string{
		tiers.StyleSnapshot: "snapshot", tiers.StyleDirect: "direct", tiers.StyleOpaque: "opaque",
	} {
		exporter.Reset()
		s := trace.New(&scripted{style: style}, to(provider))
		if got := s.Style(t.Context()); got != style {
			t.Errorf("style %v, want %v", got, style)
		}
		_ = s.UpdateTTL(t.Context(), secretID, ttl)
		spans := exporter.GetSpans()
		if len(spans) != 1 || attributes(spans[0])["strata.style"] != want {
			t.Errorf("%s: spans %v", want, spans)
		}
	}
}

// A call that a snapshot store disables makes no span, and returns the same as without Traced.
func TestDisabledCallsHaveNoSpan(t *testing.T) {
	provider, exporter := recorder(t)
	s := trace.New(&scripted{style: tiers.StyleSnapshot, err: gsession.ErrorDisabled}, to(provider))
	for _, method := range methods(t) {
		switch method.name {
		case "New", "Get", "GetSize", "Data", "Set", "SetMap", "Remove":
		default:
			continue
		}
		if err := method.call(t.Context(), s); err != gsession.ErrorDisabled {
			t.Errorf("%s = %v", method.name, err)
		}
		if n := len(exporter.GetSpans()); n != 0 {
			t.Fatalf("%s made a span", method.name)
		}
	}
}

// probed counts the calls of a store whose style is not known yet.
type probed struct {
	gsession.Storage
	gets int
}

func (p *probed) Get(ctx context.Context, id, key string) (any, error) {
	p.gets++
	return p.Storage.Get(ctx, id, key)
}

func TestSpansAskTheStoreNothing(t *testing.T) {
	provider, _ := recorder(t)
	store := &probed{Storage: gsession.NewStorageMemory()}
	_ = trace.New(store, to(provider)).UpdateTTL(t.Context(), secretID, ttl)
	if store.gets != 0 {
		t.Errorf("a span cost %d calls of the store", store.gets)
	}
}

func TestUnwrapReturnsWhatWasGiven(t *testing.T) {
	store := gsession.NewStorageMemory()
	if trace.New(store, telemetry.Config{}).Unwrap() != gsession.Storage(store) {
		t.Error("Unwrap returned something else")
	}
}

func TestNewPanicsForMistakesOfTheProgram(t *testing.T) {
	for name, mistake := range map[string]func(){
		"nil storage": func() { trace.New(nil, telemetry.Config{}) },
	} {
		_, fault := safely(func() error { mistake(); return nil })
		if message, ok := fault.(string); !ok || len(message) < 40 {
			t.Errorf("%s: panicked with %v", name, fault)
		}
	}
}
