package layertest_test

import (
	"testing"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
)

// TestMyDecorator would be the test of a third party's decorator.
func ExampleRun() {
	TestMyDecorator := func(t *testing.T) {
		layertest.Run(t, func(t *testing.T) gsession.Storage {
			return layer.Chain(gsession.NewStorageMemory(), layer.Local())
		}, layertest.Revoked(layer.ErrRevoked))
	}
	_ = TestMyDecorator
}
