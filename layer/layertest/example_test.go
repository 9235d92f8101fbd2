package layertest_test

import (
	"context"
	"testing"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
)

// The test of a store in a chain, with everything that the suite can be given.
func ExampleRun() {
	open := func(t *testing.T) gsession.Storage { return gsession.NewStorageMemory() } // your store
	chain := func(t *testing.T, store gsession.Storage) gsession.Storage {
		c := layer.Chain(store, layer.Coalesced(), layer.Local())
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		return c
	}
	TestChain := func(t *testing.T) {
		layertest.Run(t, func(t *testing.T) gsession.Storage { return chain(t, open(t)) },
			layertest.Bare(open),
			layertest.Nodes(func(t *testing.T) (a, b gsession.Storage) {
				store := open(t) // a store in a database is opened twice
				return chain(t, store), chain(t, store)
			}),
			layertest.Wrapped(func(t *testing.T, wrap func(gsession.Storage) gsession.Storage) gsession.Storage {
				return chain(t, wrap(open(t)))
			}),
			layertest.Revoked(layer.ErrRevoked),
			layertest.Except(5, "two nodes", "the store can't compare and set"))
	}
	_ = TestChain
}
