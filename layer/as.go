package layer

import (
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// As finds the outermost layer of a chain that is a T, the chain itself and its
// store included:
//
//	store, ok := layer.As[*redisstore.Storage](chain)
//
// A Stack knows all of its layers, so that a decorator without Unwrap hides none.
// Elsewhere As follows Unwrap() gsession.Storage.
func As[T any](s gsession.Storage) (T, bool) { return tiers.Find[T](s) }
