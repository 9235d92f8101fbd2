package coalesce

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// batch is one commit, or removal, of one session, and those who wait for it.
//
// While it waits in its lane, all fields but left grow under the lanes' mutex; while
// it is at the store they rest, but for those of hold, try and annulled. left is atomic. The
// outcome is written before done is closed.
type batch struct {
	id       string
	ctx      context.Context // the first caller's, without its end
	causes   telemetry.Causes
	delta    *tiers.Delta // nil: remove the session
	ttl      time.Duration
	changes  int          // calls whose changes it holds
	lone     bool         // its encoding may panic or fail, which is nobody else's
	hold     *hold        // nil: callers wait for the outcome
	try      *try         // that a caller waits for though the batch is held; nil for none
	alone    bool         // it is at the store, and no caller waits for it
	annulled []*batch     // by this removal, and void where it succeeds
	tickets  []ticket     // of its way to the store
	marked   <-chan error // that this is in the journal; nil for not needed
	since    time.Time    // as all that follows: for the room
	place    *list.Element
	bytes    int64

	left     atomic.Bool // a caller didn't wait for the end
	done     chan struct{}
	snapshot *tiers.Snapshot
	err      error
	panicked any
}

// hold is what a batch is kept by that nobody waits for: it is tried again until the
// session would have expired. The lanes' mutex guards all fields.
type hold struct {
	at       time.Time // when it is due
	deadline time.Time // the session's expiry, as its last change wants it
	attempts int
	sent     bool // as the journal has it: the change may have begun its session
}

const (
	firstBackOff = 25 * time.Millisecond
	lastBackOff  = 2 * time.Second
)

// again schedules the next attempt of a batch that has failed, and reports false where
// it is to be given up. The pause doubles, and a random half of it keeps nodes apart.
func (h *hold) again() bool {
	pause := lastBackOff
	if h.attempts < 7 {
		pause = firstBackOff << h.attempts
	}
	h.attempts++
	now := time.Now()
	h.at = now.Add(pause/2 + rand.N(pause/2))
	if h.at.After(h.deadline) {
		h.at = h.deadline
	}
	return now.Before(h.deadline)
}

// try is the next attempt of a batch. err is written before failed is closed.
type try struct {
	failed chan struct{}
	err    error
}

// tried tells those who wait for this attempt that it has failed, or with nil that it hasn't.
func (b *batch) tried(err error) {
	if b.try == nil {
		return
	}
	if err != nil {
		b.try.err = err
		close(b.try.failed)
	}
	b.try = nil
}

// size is the memory that the batch keeps while it waits: its change, its id, and the
// state that readers are shown, which is about as large as the one it was made to.
func (b *batch) size() int64 {
	size := b.delta.Size() + int64(2*len(b.id))
	if base := b.delta.Base(); base != nil {
		size += base.Size()
	}
	return size
}

// empties reports whether the batch may leave no session: it sets no key.
func (b *batch) empties() bool {
	return b.delta != nil && !b.delta.Empty() && len(b.delta.Set()) == 0
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

var errLate = tiers.NewError("strata: the store didn't take a write in time; it may still be applied", context.DeadlineExceeded)

// wait answers the outcome, or why the caller can't wait for it any longer: its own
// context, or the write's time-out, also for stores that ignore theirs. Of a batch that is
// held it may be the failure of an attempt.
func (b *batch) wait(ctx context.Context, timeout time.Duration, try *try) (*tiers.Snapshot, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var failed chan struct{}
	if try != nil {
		failed = try.failed
	}
	select {
	case <-b.done:
	case <-failed:
		select {
		case <-b.done:
		default:
			return nil, tiers.UnderWay(try.err)
		}
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
