package layer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// hungIndex is a store with an index that never responds.
type hungIndex struct {
	tiers.Storage
	principals.Index
}

func (h hungIndex) Indexer() principals.Index                     { return h }
func (hungIndex) Shards() int                                     { return 64 }
func (hungIndex) ShardOf(key principals.Key) int                  { return int(key[0]) % 64 }
func (hungIndex) Node(int) string                                 { return "" }
func (hungIndex) ShardOfInvalidated(string) (int, bool)           { return 0, false }
func (hungIndex) Leave(context.Context, []principals.Entry) error { return nil }

func (hungIndex) Marks(ctx context.Context, _ []int) ([]principals.Marks, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (hungIndex) Enter(ctx context.Context, _ principals.Entry, _ int) (principals.Entered, error) {
	<-ctx.Done()
	return principals.Entered{}, context.Cause(ctx)
}

// While an index below refuses a write that waits, the write is tried again with pauses.
func TestAWriteBehindAHungIndexIsTriedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, store := context.Background(), teststore.New()
		var asked atomic.Int64
		whose := func(data map[string]any) string {
			if asked.Add(1) > 1000 {
				time.Sleep(time.Hour) // time stands still while it is asked
			}
			return userOf(data)
		}
		chain := layer.Chain(hungIndex{Storage: store}, layer.Indexed(whose), layer.Coalesced(layer.WriteBehind(time.Millisecond)))
		defer func() {
			soon, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_ = chain.Close(soon)
		}()
		for n := range circuit.Trips {
			id := fmt.Sprintf("session-%03d-0123456789", n)
			store.Put(id, map[string]any{"user": fmt.Sprint("user", n)}, time.Hour)
			if _, err := chain.GetSession(ctx, id, time.Hour); err == nil {
				t.Error("the index doesn't hang")
			}
		}
		data := gmap.NewStrAnyMapFrom(map[string]any{"user": "ann"}, true)
		if err := chain.SetSession(ctx, "session-0123456789", data, time.Hour); err != nil {
			t.Fatal(err)
		}
		if time.Sleep(10 * time.Second); asked.Load() > 100 {
			t.Errorf("its user was asked for %d times in 10 s", asked.Load())
		}
	})
}
