package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// carrier brings writes to the store, and notes in each what has become of it. All fields are
// set at construction, but for timeout, which is atomic.
type carrier struct {
	store   tiers.Storage
	batcher tiers.Batcher // nil if the store takes no batches
	timeout duration
	life    func(w *write) time.Duration // that a commit is to set
	ended   context.Context              // the queues' life
	end     context.CancelFunc
}

// carry brings those to the store that are in the journal as they have to be. Trying whether
// the store is back takes less time than a write may.
func (c *carrier) carry(writes []*write, probe time.Duration) {
	timeout := c.timeout.get()
	if probe > 0 {
		timeout = min(timeout, probe)
	}
	ready := make([]*write, 0, len(writes))
	for _, w := range writes {
		if w.marked != nil {
			w.err, w.marked = <-w.marked, nil
		}
		if w.err == nil {
			ready = append(ready, w)
		} else {
			w.err = tiers.NotApplied(w.err)
		}
	}
	switch len(ready) {
	case 0:
	case 1:
		c.alone(ready[0], timeout, probe > 0)
	default:
		c.together(ready, timeout)
	}
}

// alone carries one write out. A panic of the store is raised again in the write's caller, and
// in no other: changes that could panic were encoded before they were merged.
func (c *carrier) alone(w *write, timeout time.Duration, probe bool) {
	ctx, cancel := context.WithTimeout(crew.Within(c.ended, w.causes.Attach(w.ctx)), timeout)
	defer cancel()
	if probe {
		ctx = circuit.AsProbe(ctx)
	}
	finished := false
	defer func() {
		if !finished {
			w.panicked, w.err = recover(), errAborted
		}
	}()
	if w.delta == nil {
		w.err = c.store.RemoveAll(ctx, w.id)
	} else {
		w.snapshot, w.err = commit(ctx, c.store, w.id, w.delta, c.life(w))
	}
	if w.touches && w.err == nil && isDirect(ctx, c.store) {
		w.err = touch(ctx, c.store, w.id, c.life(w))
	}
	finished = true
}

// together sends the writes' commits in one call. The values of one caller's context stand for
// all. A store that panics there fails all of them, and the panic is raised in no caller.
func (c *carrier) together(writes []*write, timeout time.Duration) {
	var causes telemetry.Causes
	for _, w := range writes {
		causes.Merge(w.causes)
	}
	ctx, cancel := context.WithTimeout(crew.Within(c.ended, causes.Attach(writes[0].ctx)), timeout)
	defer cancel()
	commits := make([]tiers.Commit, len(writes))
	for n, w := range writes {
		commits[n] = tiers.Commit{ID: w.id, Delta: w.delta, TTL: c.life(w)}
		w.err = errAborted
	}
	defer func() { _ = recover() }()
	for n, result := range c.batcher.CommitAll(ctx, commits) {
		writes[n].snapshot, writes[n].err = result.Snapshot, result.Err
	}
}

var errAborted = tiers.NewError("strata: the store panicked or ended the goroutine of a write, which may have been applied", nil)

// commit brings a delta to a store of either style.
func commit(ctx context.Context, store tiers.Storage, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if isDirect(ctx, store) {
		return nil, writeKeys(ctx, store, id, delta, ttl)
	}
	return store.Commit(ctx, id, delta, ttl)
}
