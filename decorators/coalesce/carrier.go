package coalesce

import (
	"context"
	"errors"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// carry brings writes to the store, except those that the journal failed to mark as sent, and settles all of them.
// A probe of the store, with a time of its own, takes less time than a write may.
func (l *queues) carry(writes []*write, probe time.Duration) {
	defer l.settle(writes, time.Now()) // also if the store ends the goroutine
	timeout := l.timeout.get()
	if probe > 0 {
		timeout = min(timeout, probe)
	}
	switch writes = l.journal.marked(writes); len(writes) {
	case 0:
	case 1:
		l.alone(writes[0], timeout, probe > 0)
	default:
		l.together(writes, timeout)
	}
}

// alone carries one write out. A panic of the store is raised again in the write's caller, and
// in no other: changes that could panic were encoded before they were merged.
func (l *queues) alone(w *write, timeout time.Duration, probe bool) {
	ctx, cancel := context.WithTimeout(crew.Within(l.ended, w.causes.Attach(w.ctx)), timeout)
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
		w.err = l.store.RemoveAll(ctx, w.id)
	} else {
		w.snapshot, w.err = commit(ctx, l.store, w.id, w.delta, l.life(w))
	}
	if w.pending && w.err == nil && isDirect(ctx, l.store) {
		w.err = touch(ctx, l.store, w.id, l.life(w))
	}
	finished = true
}

// together sends the writes' commits in one call, with the values of the first caller's context. If the store
// panics, all of them fail, and the panic isn't raised in a caller.
func (l *queues) together(writes []*write, timeout time.Duration) {
	var causes telemetry.Causes
	for _, w := range writes {
		causes.Merge(w.causes)
	}
	ctx, cancel := context.WithTimeout(crew.Within(l.ended, causes.Attach(writes[0].ctx)), timeout)
	defer cancel()
	commits := make([]tiers.Commit, len(writes))
	for n, w := range writes {
		commits[n] = tiers.Commit{ID: w.id, Delta: w.delta, TTL: l.life(w)}
		w.err = errAborted
	}
	defer func() { _ = recover() }()
	for n, result := range l.batcher.CommitAll(ctx, commits) {
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

// life returns the time to live that a commit sets: the ttl and the part that a slide adds, counted from the
// request that made the change (law 8).
func (l *queues) life(w *write) time.Duration {
	longer := l.slides.longer(w.ttl)
	if !w.pending {
		return longer
	}
	return max(time.Until(w.deadline)+longer-w.ttl, time.Millisecond)
}

// settle notes the outcomes of writes.
func (l *queues) settle(writes []*write, began time.Time) {
	nodes := make([]string, len(writes))
	for n, w := range writes {
		l.count(w)
		if w.err != nil {
			nodes[n] = l.shard(w.id) // the session may have moved, or its node is known only now
		} else if w.delta != nil {
			l.slides.landed(w, began.Add(l.life(w)), isDirect(l.ended, l.store))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, w := range writes {
		l.land(w, nodes[n], began)
	}
}

// count counts the outcome of a commit that the store was asked for.
func (l *queues) count(w *write) {
	switch {
	case w.delta == nil, errors.Is(w.err, circuit.ErrOpen):
	case w.err == nil && w.panicked == nil:
		l.tally.Add(telemetry.CommitOK)
	case errors.Is(w.err, tiers.ErrRevoked):
		l.tally.Add(telemetry.CommitRevoked)
	default:
		l.tally.Add(telemetry.CommitFailed)
	}
}

// land ends a write, or has it wait for its next attempt. It is called under mu, as conclude is.
func (l *queues) land(w *write, node string, began time.Time) {
	k := l.sessions[w.id]
	if k.flying = nil; w.err != nil {
		k.node = node
	}
	defer l.arrange(k)
	if w.snapshot != nil {
		w.snapshot = w.snapshot.ReadAt(began).AsPublished()
		if len(k.waiting) > 0 && !k.removing() {
			k.waiting[0].delta = k.waiting[0].delta.Rebase(w.snapshot)
		}
	}
	switch {
	case !w.pending, w.err == nil:
		l.conclude(k, w)
	case l.closed() && l.journal.isOpen(): // undelivered
		l.back(k, w)
	case k.removing():
		l.caches.end(k.id, w.tokens)
		k.waiting[0].annulled = append(k.waiting[0].annulled, w)
	case errors.Is(w.err, circuit.ErrOpen) && !l.closed():
		l.back(k, w)
		l.journal.unmark(k, w)
	case !failure.IsFinal(w.err) && w.again() && !l.closed():
		applied := tiers.MayBeApplied(w.err)
		l.tally.Add(telemetry.Retries)
		l.reports.failed(nil, w.err)
		if l.back(k, w); applied {
			w.delta = w.delta.Conditional(w.delta.Base())
		} else {
			l.journal.unmark(k, w)
		}
	default:
		l.gaveUp(w.err, w)
		l.conclude(k, w)
	}
}

// conclude ends a write whose outcome is known. Writes that a removal has annulled get ErrRevoked, or the removal's
// error if it failed.
func (l *queues) conclude(k *sessionQueue, w *write) {
	if w.err != nil && !w.pending && w.left.Load() {
		l.reports.failed(w.err, nil)
	}
	l.caches.became(k.id, w.ttl, w.tokens, k.landed(w))
	outcome := error(tiers.ErrRevoked)
	if w.err != nil {
		outcome = w.err
		l.gaveUp(w.err, w.annulled...)
	}
	for _, annulled := range w.annulled {
		l.finish(k, annulled, nil, outcome)
	}
	l.finish(k, w, w.snapshot, w.err)
}
