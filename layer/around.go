package layer

import (
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// Around makes a Decorator of one's own that sees sessions as they flow between layers. f gets
// the storage below, with the capability of tiers.Storage whatever it is, and returns what stands
// around it: a type that embeds [tiers.Base] and has methods for what it looks at, or a
// [tiers.Mapped]. Its Flush and Close are called with the chain's, if it has them.
func Around(f func(below tiers.Storage) tiers.Storage) Decorator {
	if f == nil {
		panic("strata: layer.Around needs a function that returns a decorator of the storage that it gets")
	}
	return func(inner gsession.Storage) gsession.Storage { return sessionmap.Decorate(inner, f) }
}

// As finds the outermost layer of a chain that is a T, the chain itself and its
// store included:
//
//	store, ok := layer.As[*redisstore.Storage](chain)
//
// A Stack knows all of its layers, so that a decorator without Unwrap hides none.
// Elsewhere As follows Unwrap() gsession.Storage.
func As[T any](s gsession.Storage) (T, bool) { return tiers.Find[T](s) }
