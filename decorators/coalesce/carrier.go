package coalesce

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// carry brings those writes to the store that are in the journal as they have to be, several of them in
// one call, and sees to what becomes of each. A probe has less time than a write may take. The values of one
// caller's context stand for all.
//
// A panic of the store is raised again in its write's caller, but in none of several: changes that
// could panic were encoded before they were merged.
func (l *queues) carry(writes []*write, probe time.Duration) {
	defer l.settle(writes, time.Now()) // also if the store ends the goroutine
	may, timeout := l.journal.marked(writes), l.timeout.get()
	if len(may) == 0 {
		return
	}
	var causes telemetry.Causes
	for _, w := range may {
		causes.Merge(w.causes)
		w.err = errAborted
	}
	caller := crew.Within(l.ended, causes.Attach(may[0].ctx))
	if probe > 0 {
		caller, timeout = circuit.AsProbe(caller), min(timeout, probe)
	}
	ctx, cancel := context.WithTimeout(caller, timeout)
	defer cancel()
	defer func() {
		if p := recover(); len(may) == 1 {
			may[0].panicked = p
		}
	}()
	if len(may) == 1 {
		may[0].snapshot, may[0].err = l.alone(ctx, may[0])
		return
	}
	commits := make([]tiers.Commit, len(may))
	for n, w := range may {
		commits[n] = tiers.Commit{ID: w.id, Delta: w.delta, TTL: l.life(w)}
	}
	for n, result := range l.batcher.CommitAll(ctx, commits) {
		may[n].snapshot, may[n].err = result.Snapshot, result.Err
	}
}

func (l *queues) alone(ctx context.Context, w *write) (*tiers.Snapshot, error) {
	if w.delta == nil {
		return nil, l.store.RemoveAll(ctx, w.id)
	}
	snapshot, err := commit(ctx, l.store, w.id, w.delta, l.life(w))
	if w.pending && err == nil && isDirect(ctx, l.store) { // to which no SetSession goes
		if err = l.store.UpdateTTL(ctx, w.id, l.life(w)); errors.Is(err, gsession.ErrorDisabled) {
			err = nil
		}
	}
	return snapshot, err
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
	refused := errors.Is(w.err, circuit.ErrOpen) // without an attempt
	switch {
	case !w.pending, w.err == nil:
		l.conclude(k, w)
	case l.schedule.closed && l.journal.isOpen(): // undelivered
		l.back(k, w)
	case k.removing():
		l.caches.end(k.id, w.tokens)
		k.waiting[0].annulled = append(k.waiting[0].annulled, w)
	case (refused || !failure.IsFinal(w.err) && w.again()) && !l.schedule.closed:
		applied := tiers.MayBeApplied(w.err)
		if !refused {
			l.tally.Add(telemetry.Retries)
			l.reports.failed(nil, w.err)
		}
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
