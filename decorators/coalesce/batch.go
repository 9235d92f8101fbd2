package coalesce

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// batch is one commit, or removal, of one session, and those who wait for it.
//
// While it waits in its lane, all fields but left grow under the lanes' mutex; while
// it is at the store they rest, but for those of hold. left is atomic. The outcome is
// written before done is closed.
type batch struct {
	id      string
	ctx     context.Context // the first caller's, without its end
	causes  telemetry.Causes
	delta   *tiers.Delta // nil: remove the session
	ttl     time.Duration
	changes int      // calls whose changes it holds
	hold    *hold    // nil: callers wait for the outcome
	alone   bool     // it is at the store, and no caller waits for it
	annuls  GiveUp   // what a removal has annulled that nobody waited for
	tickets []ticket // of its way to the store

	left     atomic.Bool // a caller didn't wait for the end
	done     chan struct{}
	snapshot *tiers.Snapshot
	err      error
	panicked any
}

// join takes another change in, if one commit can hold both.
func (b *batch) join(ctx context.Context, delta *tiers.Delta, ttl time.Duration) bool {
	if b.delta == nil {
		return false
	}
	joined, ok := b.delta.Join(delta)
	if ok {
		b.delta, b.ttl = joined, ttl
		b.changes++
		b.causes.Add(ctx)
	}
	return ok
}

// annul notes what the removal of the session makes void: it is lost only where the
// session can't be removed.
func (b *batch) annul(other *batch) {
	if other.hold != nil {
		b.annuls.add(other)
	}
}

var errLate = tiers.NewError("strata: the store didn't take a write in time; it may still be applied", context.DeadlineExceeded)

// wait answers the outcome, or why the caller can't wait for it any longer: its own
// context, or the write's time-out, also for stores that ignore theirs.
func (b *batch) wait(ctx context.Context, timeout time.Duration) (*tiers.Snapshot, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-b.done:
	case <-ctx.Done():
		if b.leave() {
			return nil, tiers.UnderWay(ctx.Err())
		}
	case <-timer.C:
		if b.leave() {
			return nil, errLate
		}
	}
	if b.panicked != nil {
		panic(b.panicked)
	}
	return b.snapshot, b.err
}

// leave is what a caller does that waits no longer. Where it comes too late for that, it
// hears the outcome; otherwise whoever ends the batch sees that it has left.
func (b *batch) leave() bool {
	b.left.Store(true)
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// attempt runs what brings batches to the store. Those that it leaves without an
// outcome get its panic; a store may end the goroutine as well.
func attempt(batches []*batch, bring func()) {
	finished := false
	defer func() {
		if !finished {
			panicked := recover()
			for _, b := range batches {
				b.panicked, b.err = panicked, errAborted
			}
		}
	}()
	bring()
	finished = true
}

var errAborted = tiers.NewError("strata: the store ended the goroutine of a write", nil)

// run carries the batch out.
func (l *lanes) run(b *batch) {
	ctx, cancel := l.patience(b.causes.Attach(b.ctx))
	defer cancel()
	attempt([]*batch{b}, func() {
		if b.delta == nil {
			b.err = l.store.RemoveAll(ctx, b.id)
		} else {
			b.snapshot, b.err = write(ctx, l.store, b.id, b.delta, l.life(b))
		}
		if b.alone && b.err == nil && l.store.Style(ctx) == tiers.StyleDirect {
			b.err = touch(ctx, l.store, b.id, l.life(b))
		}
	})
}

// write brings a delta to a store of either style.
func write(ctx context.Context, store tiers.Storage, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if store.Style(ctx) == tiers.StyleDirect {
		return nil, writeKeys(ctx, store, id, delta, ttl)
	}
	return store.Commit(ctx, id, delta, ttl)
}

// together sends the batches' commits in one call. The values of one caller's context
// stand for all.
func (l *lanes) together(batches []*batch) {
	var causes telemetry.Causes
	for _, b := range batches {
		causes.Merge(b.causes)
	}
	ctx, cancel := l.patience(causes.Attach(batches[0].ctx))
	defer cancel()
	commits := make([]tiers.Commit, len(batches))
	for n, b := range batches {
		commits[n] = tiers.Commit{ID: b.id, Delta: b.delta, TTL: l.life(b)}
	}
	attempt(batches, func() {
		for n, result := range l.batcher.CommitAll(ctx, commits) {
			batches[n].snapshot, batches[n].err = result.Snapshot, result.Err
		}
	})
}

// patience is how long the store may take: until the write's time-out, or until Close
// gives up.
func (l *lanes) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(crew.Within(l.ended, ctx), l.timeout)
}
