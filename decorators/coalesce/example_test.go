package coalesce_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
)

// Programs write layer.Chain(store, layer.Coalesced()).
func ExampleNew() {
	c := coalesce.New(gsession.NewStorageMemory(), func(o *coalesce.Options) { o.WriteTimeout = time.Second })
	fmt.Println(c.Flush(context.Background()), c.Close(context.Background()))
	// Output: <nil> <nil>
}
