package coalesce_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A direct store gets each call at once, as without the layer, also writing behind.
func TestTheCallsOfADirectStoreReachItAsTheyAre(t *testing.T) {
	for name, opts := range map[string][]coalesce.Option{"synchronous": nil, "behind": {writeBehind(time.Hour)}} {
		t.Run(name, func(t *testing.T) {
			k := teststore.NewKeys(nil)
			c := coalesce.New(k, opts...)
			defer func() { must(t, c.Close(ctx)) }()
			holds := func(what string, want map[string]any) {
				t.Helper()
				if got := k.Holds("a"); !maps.Equal(got, want) {
					t.Errorf("after %s the store holds %v, want %v", what, got, want)
				}
			}
			must(t, c.Set(ctx, "a", "one", "1", ttl))
			holds("Set", map[string]any{"one": "1"})
			must(t, c.SetMap(ctx, "a", map[string]any{"one": "2", "two": "2"}, ttl))
			holds("SetMap", map[string]any{"one": "2", "two": "2"})
			must(t, c.Remove(ctx, "a", "one"))
			holds("Remove", map[string]any{"two": "2"})
			if n := k.Slides(); n != 0 {
				t.Errorf("%d slides, before the request ended", n)
			}
			m, err := c.GetSession(ctx, "a", ttl)
			if err != nil || m == nil {
				t.Errorf("GetSession returns %v, %v", m, err)
			}
			must(t, c.SetSession(ctx, "a", m, ttl), c.UpdateTTL(ctx, "a", ttl), c.UpdateTTL(ctx, "a", ttl))
			if n := k.Slides(); n != 3 {
				t.Errorf("%d slides reached the store, want each", n)
			}
			must(t, k.Set(ctx, "a", "two", "another node's", ttl))
			value, err := c.Get(ctx, "a", "two")
			data, failed := c.Data(ctx, "a")
			size, wrong := c.GetSize(ctx, "a")
			if must(t, err, failed, wrong); value != "another node's" || data["two"] != value || size != 1 {
				t.Errorf("reads return %v, %v and %d", value, data, size)
			}
			must(t, c.RemoveAll(ctx, "a"))
			holds("RemoveAll", nil)
			if changes, _, _ := c.Pending(); changes != 0 {
				t.Errorf("%d changes are pending", changes)
			}
		})
	}
}
