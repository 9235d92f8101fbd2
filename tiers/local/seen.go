package local

import (
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// seen is what readers were answered of the store's while a write of this node was under
// way. It may be newer than what that write tells when its answer comes: another node may
// have written in between, and an announcement doesn't say so. A write then puts back only
// what the readers have seen as well. echoes.mu guards it.
type seen struct {
	any   bool
	state *tiers.Snapshot // nil: no session
	mixed bool            // different ones, and nobody knows in which order
}

func (s *seen) add(state *tiers.Snapshot) {
	s.mixed = s.mixed || s.any && !s.state.Same(state)
	s.any, s.state = true, state
}

// other reports whether readers may have seen a newer state than this one.
func (s *seen) other(state *tiers.Snapshot) bool {
	return s.mixed || s.any && !s.state.Same(state)
}

// loaded is called before readers are answered what a load has found that began at a
// moment. A write that is under way is told by seen; the state of one that has
// ended since may be older as well, and goes.
func (e *echoes) loaded(hash uint64, began int64, state *tiers.Snapshot) {
	if e.s.options.exclusive {
		return // nobody else writes
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.writing[hash]; w != nil {
		w.seen.add(state)
	}
	own, v := e.s.look(hash)
	if own != nil && own.stamp == v.stamp && own.echo != nil && own.echo.wrote >= began && !own.snapshot.Same(state) {
		e.s.outdate(hash, telemetry.InvalidatedByEcho)
	}
}

// told is called when an Announcer has said what readers are answered from now on, made of
// what they had seen before where that is known.
func (e *echoes) told(hash uint64, before, state *tiers.Snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch w := e.writing[hash]; {
	case w == nil:
	case before == nil:
		w.seen.add(state)
	case w.seen.any && !w.seen.other(before):
		w.seen.state = state
	}
}
