package trace_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
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
