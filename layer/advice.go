package layer

import (
	"context"
	"slices"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/decorators/snapshots"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

const (
	// adviceTimeout bounds what Advice asks of a server.
	adviceTimeout = 2 * time.Second
	// adviceDelay keeps the server free of questions while programs start.
	adviceDelay = time.Second
)

// Advice looks at a chain and returns what its owner should do otherwise: a store without a
// prefix or time-outs, a replica as the target, an eviction policy that drops sessions in use,
// a server that sends no invalidations or may not be asked, a direct store without Snapshots, decorators in an order that costs.
// It asks the server once, for 2 s at most. Nil means that nothing was found.
//
// A chain logs the same by itself, a second after its start.
func Advice(chain *Stack) (all []tiers.Advice) {
	ctx, cancel := context.WithTimeout(context.Background(), adviceTimeout)
	defer cancel()
	p := chain.parts()
	all = misplaced(p.layers)
	for _, adviser := range p.advisers() {
		all = append(all, adviser.Advise(ctx)...)
	}
	return all
}

func (p *parts) advisers() (all []tiers.Adviser) {
	works := false
	for _, l := range p.layers {
		if adviser, ok := l.(tiers.Adviser); ok {
			all = append(all, adviser)
		}
		switch l.(type) {
		case *coalesce.Storage, *local.Storage:
			works = true
		}
	}
	if works {
		all = append(all, keyByKey{p.top})
	}
	return all
}

// keyByKey advises for a chain whose layers have nothing to do.
type keyByKey struct{ top tiers.Storage }

// Advise says nothing of a store that doesn't reply, which may be of another style.
func (k keyByKey) Advise(ctx context.Context) []tiers.Advice {
	if style, err := tiers.StyleOf(ctx, k.top); err != nil || style != tiers.StyleDirect {
		return nil
	}
	return []tiers.Advice{{Topic: "store", Text: "the store is written key by key, so that layer.Local serves nothing from memory, layer.Coalesced merges nothing and " +
		"layer.WriteBehind delays nothing; put layer.Snapshots() right on the store"}}
}

// logAdvice logs what Advice finds, each once. The order was logged by New, and local.Storage logs
// by itself whether invalidations can arrive.
func logAdvice(s *Stack) {
	p := s.parts()
	advisers := slices.DeleteFunc(p.advisers(), func(a tiers.Adviser) bool { _, logs := a.(*local.Storage); return logs })
	if len(advisers) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.OnClose(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		defer func() { _ = recover() }() // an adviser of the program's own; the chain goes on without it
		select {
		case <-ctx.Done():
			return
		case <-time.After(adviceDelay):
		}
		ctx, cancel := context.WithTimeout(ctx, adviceTimeout)
		defer cancel()
		for _, adviser := range advisers {
			for _, a := range adviser.Advise(ctx) {
				p.reporter.Warn(ctx, "", "strata: "+a.Text)
			}
		}
	}()
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
				text = "layer.Local stands below layer.Coalesced, which then can't publish its commits to it, so that reads cost more than they have to; write layer.Chain(store, layer.Coalesced(), layer.Local())"
			}
		case *snapshots.Storage:
			if (cached || coalesced) && !snapshot {
				text = "layer.Snapshots stands above layer.Local or layer.Coalesced, which then pass every call on; write it first, right on the store"
			}
		}
		if text != "" {
			all = append(all, tiers.Advice{Topic: "order", Text: text})
		}
		below(layers[n])
	}
	return all
}
