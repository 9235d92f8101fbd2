package layer_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// Eight nodes with a full chain each, four requests at a time on every one of them, all
// of one session: every request's key is there in the end.
func TestEightNodesLoseNoKeyOfOneSession(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	const nodes, requests, rounds = 8, 4, 15
	open := func() *layer.Stack {
		return layer.Chain(redisstore.New(server.Client()), layer.Coalesced(layer.WriteTimeout(time.Minute)), layer.Local())
	}
	var group sync.WaitGroup
	for node := range nodes {
		chain := open()
		t.Cleanup(func() {
			if err := chain.Close(ctx); err != nil {
				t.Error(err)
			}
		})
		manager := gsession.New(time.Hour, chain)
		for request := range requests {
			group.Go(func() {
				key := fmt.Sprint(node, " ", request)
				for round := range rounds {
					s := manager.New(ctx, "shared")
					if err := s.Set(key, round); err != nil {
						t.Error(err)
						return
					}
					if err := s.Close(); err != nil {
						t.Error(err)
						return
					}
					if got := manager.New(ctx, "shared").MustGet(key).Int(); got != round {
						t.Errorf("read %d after writing %d", got, round)
						return
					}
				}
			})
		}
	}
	group.Wait()
	final := gsession.New(time.Hour, gsession.NewStorageRedis(server.GoFrame(t))).New(ctx, "shared")
	for node := range nodes {
		for request := range requests {
			if got := final.MustGet(fmt.Sprint(node, " ", request)).Int(); got != rounds-1 {
				t.Errorf("request %d of node %d left %d, want %d", request, node, got, rounds-1)
			}
		}
	}
}
