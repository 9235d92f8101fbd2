package trace_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// batching is a scripted storage that takes batches, and fails the second commit of each.
type batching struct {
	scripted
	failure error
}

var errBatch = errors.New("away")

func (b *batching) CommitAll(_ context.Context, commits []tiers.Commit) []tiers.Committed {
	results := make([]tiers.Committed, len(commits))
	if len(results) > 1 {
		results[1].Err = b.failure
	}
	return results
}

func TestBatchesPassWithASpan(t *testing.T) {
	provider, exporter := recorder(t)
	s := trace.New(&batching{scripted{style: tiers.StyleSnapshot}, errBatch}, telemetry.Config{Tracing: provider})
	above := trace.New(s, telemetry.Config{Tracing: provider})
	batcher := tiers.BatcherOf(above)
	if batcher == nil {
		t.Fatal("a store that takes batches doesn't under Traced")
	}
	commits := []tiers.Commit{{ID: secretID, Delta: change(t), TTL: ttl}, {ID: secretID + "2", Delta: change(t), TTL: ttl}}
	ctx, handler := provider.Tracer("").Start(t.Context(), "handler")
	defer handler.End()
	for _, ctx := range []context.Context{t.Context(), ctx} {
		if results := batcher.CommitAll(ctx, commits); len(results) != 2 || results[0].Err != nil || results[1].Err != errBatch {
			t.Fatalf("returned %v", results)
		}
	}
	spans := exporter.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want one of each Traced", len(spans))
	}
	for _, span := range spans {
		got := attributes(span)
		if span.Name != "session CommitAll" || got["strata.outcome"] != "error" || got["error.type"] != "*errors.errorString" {
			t.Errorf("span %s %v", span.Name, got)
		}
	}
	assertPrivate(t, spans)

	_ = batcher.CommitAll(ctx, commits[:1])
	if got := attributes(exporter.GetSpans()[2]); got["strata.outcome"] != "ok" || got["strata.keys"] != "2" {
		t.Errorf("a batch that went well: %v", got)
	}
	if tiers.BatcherOf(trace.New(&scripted{style: tiers.StyleSnapshot}, telemetry.Config{})) != nil {
		t.Error("a store that takes no batches does under Traced")
	}
}

// One session that was removed meanwhile is no failure of the batch.
func TestARevokedSessionDoesNotFailItsBatch(t *testing.T) {
	provider, exporter := recorder(t)
	s := trace.New(&batching{scripted{style: tiers.StyleSnapshot}, tiers.ErrRevoked}, to(provider))
	commits := []tiers.Commit{{ID: secretID, Delta: change(t), TTL: ttl}, {ID: secretID + "2", Delta: change(t), TTL: ttl}}
	_ = tiers.BatcherOf(s).CommitAll(t.Context(), commits)
	span := exporter.GetSpans()[0]
	if got := attributes(span); got["strata.outcome"] != "ok" || got["error.type"] != "" || span.Status.Code != codes.Unset {
		t.Errorf("the span of the batch says %v, %v", got, span.Status)
	}
}

// reloading is a scripted storage that reads several sessions together, and fails the
// second of each.
type reloading struct{ scripted }

func (r *reloading) LoadAll(_ context.Context, loads []tiers.Reload) []tiers.Reloaded {
	results := make([]tiers.Reloaded, len(loads))
	results[0].Read.Snapshot = loads[0].Known
	if len(results) > 1 {
		results[1].Err = errBatch
	}
	return results
}

func TestReadsOfSeveralSessionsPassWithASpan(t *testing.T) {
	provider, exporter := recorder(t)
	s := trace.New(&reloading{scripted{style: tiers.StyleSnapshot}}, telemetry.Config{Tracing: provider})
	together := tiers.ReloaderOf(trace.New(s, telemetry.Config{Tracing: provider}))
	if together == nil {
		t.Fatal("a store that reads several sessions together doesn't under Traced")
	}
	known := tiers.Adopt(map[string]any{secretKey: secretValue, "k": 2})
	loads := []tiers.Reload{{ID: secretID, TTL: ttl, Known: known}, {ID: secretID + "2", TTL: ttl}}
	ctx, handler := provider.Tracer("").Start(t.Context(), "handler")
	defer handler.End()
	for _, ctx := range []context.Context{t.Context(), ctx} {
		if results := together.LoadAll(ctx, loads); len(results) != 2 || results[0].Read.Snapshot != known || results[1].Err != errBatch {
			t.Fatalf("returned %v", results)
		}
	}
	spans := exporter.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want one of each Traced", len(spans))
	}
	for _, span := range spans {
		if got := attributes(span); span.Name != "session LoadAll" || got["strata.outcome"] != "error" || got["error.type"] != "*errors.errorString" {
			t.Errorf("span %s %v", span.Name, got)
		}
	}
	assertPrivate(t, spans)

	_ = together.LoadAll(ctx, loads[:1])
	if got := attributes(exporter.GetSpans()[2]); got["strata.outcome"] != "ok" || got["strata.keys"] != "2" {
		t.Errorf("a read that went well: %v", got)
	}
	if tiers.ReloaderOf(trace.New(&scripted{style: tiers.StyleSnapshot}, telemetry.Config{})) != nil {
		t.Error("a store that reads sessions one by one doesn't under Traced")
	}
}
