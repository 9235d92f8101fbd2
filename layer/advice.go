package layer

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/decorators/snapshots"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// adviceTimeout bounds what Advice asks of a server.
const adviceTimeout = 2 * time.Second

// Advice looks at a chain and returns what its owner should do otherwise: a store without a
// prefix or time-outs, a replica as the target, an eviction policy that drops sessions in use,
// decorators in an order that costs.
// It asks the server once, for 2 s at most. Nil means that nothing was found. Call it when the
// program starts, and log what it returns.
func Advice(chain *Stack) (all []tiers.Advice) {
	ctx, cancel := context.WithTimeout(context.Background(), adviceTimeout)
	defer cancel()
	layers := chain.parts().layers
	all = misplaced(layers)
	for _, l := range layers {
		if adviser, ok := l.(tiers.Adviser); ok {
			all = append(all, adviser.Advise(ctx)...)
		}
	}
	return all
}

// misplaced returns what is wrong with the order of layers, the outermost first. A chain works
// in any order; it logs this once, when it is made.
func misplaced(layers []gsession.Storage) (all []tiers.Advice) {
	var coalesced, cached, snapshot bool
	below := func(l gsession.Storage) {
		switch l.(type) {
		case *coalesce.Storage:
			coalesced = true
		case *local.Storage:
			cached = true
		case *snapshots.Storage:
			snapshot = true
		}
	}
	for n := len(layers) - 1; n >= 0; n-- {
		var text string
		switch layers[n].(type) {
		case *coalesce.Storage:
			if cached && !coalesced {
				text = "layer.Local stands below layer.Coalesced, which can't tell it what becomes of a session then, so that reads cost more than they have to; write layer.Chain(store, layer.Coalesced(), layer.Local())"
			}
		case *snapshots.Storage:
			if (cached || coalesced) && !snapshot {
				text = "layer.Snapshots stands above layer.Local or layer.Coalesced, which then work key by key; write it first, right on the store"
			}
		}
		if text != "" {
			all = append(all, tiers.Advice{Topic: "order", Text: text})
		}
		below(layers[n])
	}
	return all
}
