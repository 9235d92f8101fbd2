package telemetry

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/glog"
	"go.opentelemetry.io/otel/trace"
)

func TestWarningsAreRare(t *testing.T) {
	var lines bytes.Buffer
	log := glog.Instance()
	before := log.GetWriter()
	log.SetWriter(&lines)
	log.SetStdoutPrint(false)
	defer func() { log.SetWriter(before); log.SetStdoutPrint(true) }()
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			Warn(context.Background(), "rare", "strata: the store is %s", "away")
		}
		Warn(context.Background(), "another", "strata: something else")
		time.Sleep(logInterval)
		Warn(context.Background(), "rare", "strata: the store is %s", "still away")
	})
	text := lines.String()
	if n := strings.Count(text, "\n"); n != 3 {
		t.Errorf("%d lines, want three:\n%s", n, text)
	}
	if !strings.Contains(text, "still away (and 99 more of these since)") {
		t.Errorf("what was held back isn't counted:\n%s", text)
	}
}

func TestDetachKeepsTheSpanAndNothingElse(t *testing.T) {
	type key struct{}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx, cancel := context.WithCancel(context.WithValue(trace.ContextWithSpanContext(context.Background(), span), key{}, 1))
	cancel()
	detached := Detach(ctx)
	if detached.Err() != nil || detached.Value(key{}) != nil {
		t.Error("the context of a request is kept")
	}
	if got := trace.SpanContextFromContext(detached); got.TraceID() != span.TraceID() || got.SpanID() != span.SpanID() {
		t.Errorf("the span is %v, want the request's", got)
	}
}
