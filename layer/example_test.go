package layer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/local"
)

func ExampleChain() {
	ctx := context.Background()
	// Any gsession.Storage will do: gsession.NewStorageRedis(g.Redis()), redisstore.New(client), ...
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Coalesced(), layer.Local(), layer.Traced())
	defer chain.Close(ctx)

	sessions := gsession.New(time.Hour, chain) // in ghttp: server.SetSessionStorage(chain)
	request := sessions.New(ctx, "an-id")
	request.MustSet("user", "john")
	if err := request.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(sessions.New(ctx, "an-id").MustGet("user"))
	// Output: john
}

// Two requests of one session that overlap both keep what they have set.
func ExampleChain_overlap() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local())
	defer chain.Close(ctx)
	sessions := gsession.New(time.Hour, chain)

	one, two := sessions.New(ctx, "an-id"), sessions.New(ctx, "an-id")
	one.MustSet("cart", "full")
	two.MustSet("theme", "dark")
	fmt.Println(one.Close(), two.Close())
	fmt.Println(sessions.New(ctx, "an-id").MustSize(), "keys")
	// Output:
	// <nil> <nil>
	// 2 keys
}

// A request that had loaded the session before its user logged out can't undo that.
func ExampleChain_logOut() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local())
	defer chain.Close(ctx)
	sessions := gsession.New(time.Hour, chain)
	login := sessions.New(ctx, "an-id")
	login.MustSet("user", "john")
	_ = login.Close()

	slow := sessions.New(ctx, "an-id")
	slow.MustSet("seen", true)
	logout := sessions.New(ctx, "an-id")
	fmt.Println(logout.RemoveAll(), logout.Close())

	fmt.Println(errors.Is(slow.Close(), layer.ErrRevoked))
	fmt.Println(sessions.New(ctx, "an-id").MustContains("user"))
	// Output:
	// <nil> <nil>
	// true
	// false
}

func ExampleLocal() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(
		layer.MaxBytes(256<<20),
		layer.MaxStale(500*time.Millisecond),
	))
	fmt.Println(chain.Close(ctx))
	// Output: <nil>
}

func ExampleExclusive() {
	// This process is the store's only user.
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.Exclusive()))
	fmt.Println(chain.Close(context.Background()))
	// Output: <nil>
}

func ExampleCoalesced() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Coalesced(layer.WriteTimeout(2*time.Second)))
	fmt.Println(chain.Flush(ctx), chain.Close(ctx))
	// Output: <nil> <nil>
}

func ExampleSnapshots() {
	ctx := context.Background()
	// For gsession.NewStorageRedisHashTable(g.Redis()) above all.
	chain := layer.Chain(newKeyed(), layer.Snapshots(), layer.Local())
	defer chain.Close(ctx)
	request := gsession.New(time.Hour, chain).New(ctx, "an-id")
	request.MustSet("user", "john")
	next := request.MustRegenerateId(true) // the bare store loses the data here
	_ = request.Close()
	fmt.Println(gsession.New(time.Hour, chain).New(ctx, next).MustGet("user"))
	// Output: john
}

func ExampleFromDocumented() {
	ctx := context.Background()
	// A storage with GetMap, and with old data as GetSession's last argument.
	var store layer.DocumentedStorage = documented{gsession.NewStorageMemory()}
	chain := layer.Chain(layer.FromDocumented(store), layer.Local())
	defer chain.Close(ctx)
	_, err := chain.GetMap(ctx, "an-id")
	fmt.Println(errors.Is(err, gsession.ErrorDisabled))
	// Output: true
}

func ExampleAs() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(), layer.Traced())
	defer chain.Close(context.Background())
	_, found := layer.As[*local.Storage](chain)
	_, store := layer.As[*gsession.StorageMemory](chain)
	fmt.Println(found, store)
	// Output: true true
}

func ExampleWriteBehind() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(),
		layer.Coalesced(
			layer.WriteBehind(200*time.Millisecond),
			layer.OnGiveUp(func(lost layer.GiveUp) { fmt.Println("lost", lost.Changes, "changes:", lost.Cause) }),
		),
		layer.Local())
	manager := gsession.New(time.Hour, chain)
	for n := range 100 {
		request := manager.New(ctx, "visitor")
		request.MustSet("pages", n+1)
		if err := request.Close(); err != nil { // returns at once
			fmt.Println(err)
		}
	}
	fmt.Println(manager.New(ctx, "visitor").MustGet("pages"))
	fmt.Println(chain.Close(ctx)) // brings what is pending to the store
	// Output:
	// 100
	// <nil>
}
