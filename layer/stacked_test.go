package layer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
)

// Two layers that write behind, one on the other: what the lower one brings to the store
// lacks what still waits in the upper one, and mustn't take its place in memory.
func TestACommitOfALowerLayerHidesNoPendingChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		store := teststore.New()
		store.Put("a", map[string]any{"one": 0, "two": 0}, time.Hour)
		chain := layer.Chain(store,
			layer.Coalesced(layer.WriteBehind(time.Second)), layer.Coalesced(layer.WriteBehind(time.Second)),
			layer.Local(layer.Exclusive()))
		manager := gsession.New(time.Hour, chain)
		set := func(key string) {
			request := manager.New(ctx, "a")
			request.MustSet(key, 1)
			if err := request.Close(); err != nil {
				t.Fatal(err)
			}
		}
		read := func() {
			t.Helper()
			synctest.Wait()
			got := manager.New(ctx, "a").MustData()
			if got["one"] != 1 || got["two"] != 1 {
				t.Errorf("a read returns %v, want what was written", got)
			}
		}
		set("one") // in the lower layer after a second, in the store after two
		time.Sleep(1500 * time.Millisecond)
		set("two")
		read()
		for range 10 {
			time.Sleep(250 * time.Millisecond)
			read()
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
