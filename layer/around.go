package layer

import (
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/mapped"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// Around makes a Decorator of one's own that sees sessions as they flow between layers. f gets
// the storage below, with the capability of tiers.Storage whatever it is, and returns what stands
// around it: a type that embeds [tiers.Base] and has methods for what it looks at. Its Flush and
// Close are called with the chain's, if it has them.
func Around(f func(below tiers.Storage) tiers.Storage) Decorator {
	if f == nil {
		panic("strata: layer.Around needs a function that returns a decorator of the storage that it gets")
	}
	return func(inner gsession.Storage) gsession.Storage { return sessionmap.Decorate(inner, f) }
}

// Mapped keeps each value as a text: encrypted, say, or compressed. The keys stay as they are.
//
// write returns the text, valid UTF-8, that stands for a value. It gives the same text for the same
// key and value, as a commit that is repeated compares what the store holds with what the request
// had been given (law 5). read returns the value that write was given, as it comes back from JSON,
// say. A value that can't be mapped fails the call, and nothing is written.
func Mapped(
	write func(key string, value any) (text string, err error), read func(key string, stored any) (value any, err error),
) Decorator {
	if write == nil || read == nil {
		panic("strata: layer.Mapped needs two functions: one that makes a text of a value, and one that makes the value of the text")
	}
	return Around(func(below tiers.Storage) tiers.Storage { return mapped.New(below, write, read) })
}

// As finds the outermost layer of a chain that is a T, the chain itself and its
// store included:
//
//	store, ok := layer.As[*redisstore.Storage](chain)
//
// A Stack knows all of its layers, so that a decorator without Unwrap hides none.
// Elsewhere As follows Unwrap() gsession.Storage.
func As[T any](s gsession.Storage) (T, bool) { return tiers.Find[T](s) }
