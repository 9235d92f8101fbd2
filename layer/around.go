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
