package layer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
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
		return layer.Chain(redisstore.New(client(t, server)), patientCoalesced(), patientLocal())
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

// Overlapping requests that change a session find it in memory: the cache is notified of the session's states in the
// order of the commits.
func TestChangedSessionsStayInMemory(t *testing.T) {
	for name, opts := range map[string][]layer.CoalescedOption{
		"synchronous": nil,
		"behind":      {layer.WriteBehind(time.Millisecond)},
		"far behind":  {layer.WriteBehind(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			store := teststore.New()
			store.OnCommit = func(context.Context, string) error { runtime.Gosched(); return nil }
			chain := layer.Chain(store, patientCoalesced(opts...), patientLocal(layer.MaxStale(time.Hour)), layer.Traced())
			manager := gsession.New(time.Hour, chain)
			begin := func() { // the cache takes a new session when it gets to it
				request := manager.New(ctx, "a")
				if err := errors.Join(request.Set("seed", 1), request.Close(), chain.Flush(ctx)); err != nil {
					t.Fatal(err)
				}
				before, _, _ := store.Count()
				poll.Until(t, "the session is kept in memory", func() bool {
					loads := before
					manager.New(ctx, "a").MustData()
					before, _, _ = store.Count()
					return before == loads
				})
			}
			begin()
			const most = 120 // 150 to 750 where each caller concludes for itself
			loads, done := most+1, 0
			for end := time.Now().Add(time.Minute); loads > most && time.Now().Before(end) && !t.Failed(); { // a machine that stalls may cost some
				before, _, _ := store.Count()
				var group sync.WaitGroup
				for user := range 8 {
					group.Go(func() {
						for n := done; n < done+100; n++ {
							request := manager.New(ctx, "a")
							if got := request.MustGet(fmt.Sprint(user), -1).Int(); got != n-1 {
								t.Errorf("a request reads %d, the one before it has set %d", got, n-1)
							}
							if err := errors.Join(request.Set(fmt.Sprint(user), n), request.Close()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				group.Wait()
				after, _, _ := store.Count()
				loads, done = after-before, done+100
			}
			if loads > most {
				t.Errorf("%d loads for 800 requests of a session that is in memory", loads)
			}
			if err := chain.Close(ctx); err != nil {
				t.Fatal(err)
			}
			read, _ := store.Load(ctx, "a", time.Hour)
			for user := range 8 {
				if got := read.Snapshot.Get(fmt.Sprint(user)); got != done-1 {
					t.Errorf("user %d's key is %v in the store, want %d", user, got, done-1)
				}
			}
		})
	}
}
