package local_test

import (
	"maps"
	"testing"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers/local"
)

// Memory keeps nothing of a direct store: each call reaches it, and what another program writes is read at once.
func TestTheCallsOfADirectStoreArePassedOn(t *testing.T) {
	k := teststore.NewKeys(map[string]map[string]any{"a": {"x": "1"}})
	l := local.New(k, local.Exclusive(), local.MaxBytes(1<<20))
	defer l.Close(ctx)
	reads := func(want map[string]any) {
		t.Helper()
		if m, err := l.GetSession(ctx, "a", ttl); err != nil || (m != nil) != (want != nil) || m != nil && m.Size() != 0 {
			t.Errorf("GetSession: %v, %v", m, err)
		}
		if v, err := l.Get(ctx, "a", "x"); err != nil || v != want["x"] {
			t.Errorf("Get: %v, %v, want %v", v, err, want["x"])
		}
		if n, err := l.GetSize(ctx, "a"); err != nil || n != len(want) {
			t.Errorf("GetSize: %v, %v, want %d", n, err, len(want))
		}
		if d, err := l.Data(ctx, "a"); err != nil || !maps.Equal(d, want) {
			t.Errorf("Data: %v, %v, want %v", d, err, want)
		}
	}
	step := func(err error, want map[string]any) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if holds := k.Holds("a"); !maps.Equal(holds, want) {
			t.Errorf("the store holds %v, want %v", holds, want)
		}
		reads(want)
	}
	step(nil, map[string]any{"x": "1"})
	step(k.Set(ctx, "a", "x", "another's", ttl), map[string]any{"x": "another's"})
	step(l.Set(ctx, "a", "x", "2", ttl), map[string]any{"x": "2"})
	step(l.SetMap(ctx, "a", map[string]any{"y": "3"}, ttl), map[string]any{"x": "2", "y": "3"})
	step(l.Remove(ctx, "a", "x"), map[string]any{"y": "3"})
	m, err := l.GetSession(ctx, "a", ttl)
	if err != nil {
		t.Fatal(err)
	}
	before := k.Slides()
	step(l.SetSession(ctx, "a", m, ttl), map[string]any{"y": "3"})
	if n := k.Slides(); n != before+1 {
		t.Errorf("%d slides reached the store, want one", n-before)
	}
	step(l.RemoveAll(ctx, "a"), nil)
}
