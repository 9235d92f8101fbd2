package trace_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/os/gsession"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/tiers"
)

// exported is all that an exporter gets to see of the spans.
func exported(t testing.TB, spans tracetest.SpanStubs) string {
	t.Helper()
	document, err := json.Marshal(spans)
	if err != nil {
		t.Fatal(err)
	}
	all := string(document)
	for _, span := range spans {
		all += fmt.Sprintf("%s %v %v %+v %s", span.Name, span.SpanContext, span.Status, span.InstrumentationScope, span.Resource)
		for _, attribute := range span.Attributes {
			all += fmt.Sprintf(" %s=%s", attribute.Key, attribute.Value.Emit())
		}
		for _, event := range span.Events {
			all += " " + event.Name
			for _, attribute := range event.Attributes {
				all += fmt.Sprintf(" %s=%s", attribute.Key, attribute.Value.Emit())
			}
		}
		for _, link := range span.Links {
			all += fmt.Sprintf(" %+v", link)
		}
	}
	return all
}

// assertPrivate fails where a span holds an id, a key or a value (law 10).
func assertPrivate(t testing.TB, spans tracetest.SpanStubs) {
	t.Helper()
	all := exported(t, spans)
	for _, secret := range []string{secretID, secretKey, secretValue} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in the spans: %s", secret, all)
		}
	}
}

func TestNothingPrivateIsExported(t *testing.T) {
	text := strings.Join([]string{secretID, secretKey, secretValue}, " ")
	faults := []*scripted{
		{},
		{err: errors.New(text)},
		{err: gerror.New(text)},
		{err: fmt.Errorf("%s: %w", text, tiers.ErrRevoked)},
		{err: gerror.Wrap(gsession.ErrorDisabled, text)},
		{fault: text},
		{fault: errors.New(text)},
	}
	provider, exporter := recorder(t)
	for _, fault := range faults {
		fault.snapshot, fault.data = snapshotOf(), map[string]any{secretKey: secretValue}
		for _, method := range methods(t) {
			fault.style = method.style
			// Once with the capability, and once as a storage of another module.
			for _, s := range []gsession.Storage{fault, stranger{fault}} {
				_, _ = safely(func() error {
					return method.call(t.Context(), trace.New(s, to(provider)))
				})
			}
		}
	}
	spans := exporter.GetSpans()
	if want := len(faults) * len(methods(t)); len(spans) < want {
		t.Fatalf("%d spans, want %d at least", len(spans), want)
	}
	assertPrivate(t, spans)
}

// The search itself must find what it looks for.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	provider, exporter := recorder(t)
	_, span := provider.Tracer("").Start(t.Context(), "x")
	span.RecordError(errors.New(secretValue))
	span.End()
	if all := exported(t, exporter.GetSpans()); !strings.Contains(all, secretValue) {
		t.Errorf("not found in %s", all)
	}
}
