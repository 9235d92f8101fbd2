package local_test

import (
	"context"
	"fmt"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers/local"
)

// Programs write layer.Chain(store, layer.Local()).
func ExampleNew() {
	tier := local.New(gsession.NewStorageMemory(), func(o *local.Options) { o.MaxBytes = 32 << 20 })
	fmt.Println(tier.Close(context.Background()))
	// Output: <nil>
}
