package coalesce

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// batch is one commit, or removal, of one session, and those who wait for it.
//
// While it waits in its lane, delta, ttl and changes grow under the lanes' mutex. left
// is atomic. The outcome is written before done is closed.
type batch struct {
	id      string
	ctx     context.Context // the first caller's values, without its end
	delta   *tiers.Delta    // nil: remove the session
	ttl     time.Duration
	changes int // calls whose changes it holds

	left     atomic.Bool // a caller didn't wait for the end
	done     chan struct{}
	snapshot *tiers.Snapshot
	err      error
	panicked any
}

// join takes another change in, if one commit can hold both.
func (b *batch) join(delta *tiers.Delta, ttl time.Duration) bool {
	if b.delta == nil {
		return false
	}
	joined, ok := b.delta.Join(delta)
	if ok {
		b.delta, b.ttl = joined, ttl
		b.changes++
	}
	return ok
}

// end tells everybody who waits.
func (b *batch) end(snapshot *tiers.Snapshot, err error) {
	b.snapshot, b.err = snapshot, err
	close(b.done)
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
		b.left.Store(true)
		return nil, ctx.Err()
	case <-timer.C:
		b.left.Store(true)
		return nil, errLate
	}
	if b.panicked != nil {
		panic(b.panicked)
	}
	return b.snapshot, b.err
}

// run carries the batch out. A panic of the store is passed to those who wait.
func (b *batch) run(store tiers.Storage, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(b.ctx, timeout)
	defer cancel()
	finished := false
	defer func() {
		if !finished {
			b.panicked = recover()
			b.end(nil, errAborted)
		}
	}()
	var (
		snapshot *tiers.Snapshot
		err      error
	)
	if b.delta == nil {
		err = store.RemoveAll(ctx, b.id)
	} else {
		snapshot, err = store.Commit(ctx, b.id, b.delta, b.ttl)
	}
	finished = true
	b.end(snapshot, err)
}

var errAborted = tiers.NewError("strata: the store ended the goroutine of a write", nil)
