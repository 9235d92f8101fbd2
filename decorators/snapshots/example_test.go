package snapshots_test

import (
	"context"
	"fmt"

	"github.com/gf-strata/strata/decorators/snapshots"
	"github.com/gf-strata/strata/internal/teststore"
)

// Programs write layer.Chain(store, layer.Snapshots()).
func ExampleNew() {
	store := teststore.NewKeys(map[string]map[string]any{"an-id": {"user": "john"}}) // each key a call
	m, err := snapshots.New(store).GetSession(context.Background(), "an-id", ttl)
	fmt.Println(m.Map(), err)
	// Output: map[user:john] <nil>
}
