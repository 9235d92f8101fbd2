package local

import (
	"runtime"
	"sync/atomic"
)

const gateStripes = 64

// gate keeps calls of the cache apart from its Close, which ristretto doesn't: a Get
// or a Set that overlaps it panics. What happens inside is short and never blocks.
//
// shut and the counts of who is inside are atomics. Whoever enters counts first and
// looks at shut afterwards, and close does it the other way round, so that each
// entrant is either counted or turned away.
type gate struct {
	shut   atomic.Bool
	inside [gateStripes]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

func (g *gate) enter(hash uint64) bool {
	stripe := &g.inside[hash%gateStripes].n
	stripe.Add(1)
	if g.shut.Load() {
		stripe.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave(hash uint64) { g.inside[hash%gateStripes].n.Add(-1) }

func (g *gate) do(hash uint64, f func()) {
	if g.enter(hash) {
		f()
		g.leave(hash)
	}
}

func (g *gate) closed() bool { return g.shut.Load() }

// close turns everybody away and returns when nobody is inside; false the second time.
func (g *gate) close() bool {
	if !g.shut.CompareAndSwap(false, true) {
		return false
	}
	for n := range g.inside {
		for g.inside[n].n.Load() != 0 {
			runtime.Gosched()
		}
	}
	return true
}
