package trace_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/decorators/trace"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// named lists the spans' operations and outcomes, in the order in which they ended.
func named(spans tracetest.SpanStubs) []string {
	var all []string
	for _, span := range spans {
		all = append(all, span.Name+" "+attributes(span)["strata.outcome"])
	}
	return all
}

// A stranger's decorator above knows gsession's methods only.
func TestALayerAboveWithoutTheCapabilityGetsAMap(t *testing.T) {
	provider, exporter := recorder(t)
	store := gsession.NewStorageMemory()
	s := stranger{trace.New(store, to(provider))}
	ctx := t.Context()

	if m, err := s.GetSession(ctx, secretID, ttl); m.Size() != 0 || err != nil {
		t.Fatalf("no session yet: %v, %v", m, err) // StorageMemory returns an empty one
	}
	fresh := gmap.NewStrAnyMapFrom(map[string]any{secretKey: secretValue, "n": 1}, true)
	if err := s.SetSession(ctx, secretID, fresh, ttl); err != nil {
		t.Fatal(err)
	}
	one, _ := s.GetSession(ctx, secretID, ttl)
	two, _ := s.GetSession(ctx, secretID, ttl)
	one.Set("one", 1)
	two.Set("two", 2)
	for _, m := range []*gmap.StrAnyMap{one, two} {
		if err := s.SetSession(ctx, secretID, m, ttl); err != nil {
			t.Fatal(err)
		}
	}
	held, _ := store.GetSession(ctx, secretID, ttl)
	if keys := held.Keys(); len(keys) != 4 {
		t.Errorf("the store holds %v, want four keys (law 5)", keys)
	}
	late, _ := s.GetSession(ctx, secretID, ttl)
	if err := s.RemoveAll(ctx, secretID); err != nil {
		t.Fatal(err)
	}
	late.Set("late", 1)
	if err := s.SetSession(ctx, secretID, late, ttl); !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("a write after RemoveAll returned %v, want ErrRevoked (law 6)", err)
	}

	want := []string{
		"session Load ok", "session Commit ok", "session Load ok", "session Load ok",
		"session Commit ok", "session Commit ok", "session Load ok", "session RemoveAll ok",
	}
	spans := exporter.GetSpans()
	if got := named(spans); !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
	assertPrivate(t, spans)
}

// A new log-in under the same id doesn't make an old map valid again, which only the layer
// that handed the map out can know.
func TestRemoveAllInvalidatesTheMapsHandedOutBefore(t *testing.T) {
	s := trace.New(gsession.NewStorageMemory(), telemetry.Config{})
	ctx := t.Context()
	login := func(user string) error {
		return s.SetSession(ctx, secretID, gmap.NewStrAnyMapFrom(map[string]any{"user": user}, true), ttl)
	}
	if err := login("before"); err != nil {
		t.Fatal(err)
	}
	old, _ := s.GetSession(ctx, secretID, ttl)
	if err := s.RemoveAll(ctx, secretID); err != nil {
		t.Fatal(err)
	}
	if err := login("after"); err != nil {
		t.Fatal(err)
	}
	old.Set("cart", 1)
	if err := s.SetSession(ctx, secretID, old, ttl); !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("the old map returned %v, want ErrRevoked", err)
	}
}

// A failed RemoveAll has removed nothing, and maps stay what they are.
func TestAFailedRemoveAllLeavesTheMapsValid(t *testing.T) {
	store := &scripted{style: tiers.StyleSnapshot, snapshot: snapshotOf()}
	s := trace.New(store, telemetry.Config{})
	m, _ := s.GetSession(t.Context(), secretID, ttl)
	store.err = errors.New("away")
	if err := s.RemoveAll(t.Context(), secretID); err != store.err {
		t.Fatal(err)
	}
	store.err = nil
	m.Set("n", 2)
	if err := s.SetSession(t.Context(), secretID, m, ttl); err != nil {
		t.Errorf("returned %v", err)
	}
}

func TestResultsPassUnchanged(t *testing.T) {
	store := &scripted{style: tiers.StyleDirect, snapshot: snapshotOf(), data: map[string]any{secretKey: secretValue}}
	s := trace.New(store, telemetry.Config{})
	ctx := context.Background()
	if id, _ := s.New(ctx, ttl); id != secretID {
		t.Errorf("New returned %q", id)
	}
	if value, _ := s.Get(ctx, secretID, secretKey); value != secretValue {
		t.Errorf("Get returned %v", value)
	}
	if size, _ := s.GetSize(ctx, secretID); size != 1 {
		t.Errorf("GetSize returned %d", size)
	}
	if data, _ := s.Data(ctx, secretID); data[secretKey] != secretValue {
		t.Errorf("Data returned %v", data)
	}
	if m, _ := s.GetSession(ctx, secretID, ttl); m == nil {
		t.Error("GetSession returned nil")
	}
	if until, _ := s.Slide(ctx, secretID, ttl); !until.Equal(time.Unix(1, 0)) {
		t.Errorf("Slide returned %v", until)
	}
	if snapshot, _ := s.Commit(ctx, secretID, change(t), ttl); snapshot != store.snapshot {
		t.Errorf("Commit returned %v", snapshot)
	}
}
