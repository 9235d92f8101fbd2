package layer

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// adviceTimeout bounds what Advice asks of a server.
const adviceTimeout = 2 * time.Second

// Advice looks at a chain and returns what its owner should do otherwise: a store without a
// prefix or time-outs, a replica as the target, an eviction policy that drops sessions in use.
// It asks the server once, for 2 s at most. Nil means that nothing was found. Call it when the
// program starts, and log what it returns.
func Advice(chain *Stack) (all []tiers.Advice) {
	ctx, cancel := context.WithTimeout(context.Background(), adviceTimeout)
	defer cancel()
	for _, l := range chain.layers {
		if adviser, ok := l.(tiers.Adviser); ok {
			all = append(all, adviser.Advise(ctx)...)
		}
	}
	return all
}
