package config_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gcfg"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer/config"
)

// A program's own file is read by config.Chain in place of ChainOf.
func ExampleChainOf() {
	file, err := gcfg.NewAdapterContent(`
strata:
  default:
    store: memory
    local: {maxBytes: 16MiB, exclusive: true}
`)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	chain, err := config.ChainOf(ctx, gcfg.NewWithAdapter(file), "default")
	if err != nil {
		panic(err)
	}
	defer chain.Close(ctx)
	for _, layer := range chain.Layers() {
		fmt.Printf("%T\n", layer)
	}
	session := gsession.New(time.Hour, chain).New(ctx, "an-id")
	fmt.Println(session.Set("user", "ann"), session.Close())

	_, err = config.ChainOf(ctx, gcfg.NewWithAdapter(file), "another")
	fmt.Println(err)
	// Output:
	// *trace.Storage
	// *local.Storage
	// *coalesce.Storage
	// *gsession.StorageMemory
	// <nil> <nil>
	// strata: the configuration has no strata.another; write one, such as strata.another: {store: redis, prefix: "app:"}
}
