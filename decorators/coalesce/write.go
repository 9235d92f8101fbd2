package coalesce

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// change is what a caller adds to a session's queue.
type change struct {
	id      string
	delta   *tiers.Delta // nil: remove the session
	ttl     time.Duration
	pending bool          // its caller doesn't wait: it is tried again until the session would have expired
	delay   time.Duration // until it is due then
}

// write is one commit, or removal, of one session, and the callers that wait for it.
//
// While it waits in its session's queue, all fields but left grow under the queues' mutex;
// while it is at the store they rest, except annulled. left is atomic. The outcome is written before done is closed.
type write struct {
	change
	ctx      context.Context // the first caller's, for its values
	causes   telemetry.Causes
	calls    int                  // whose changes it holds
	annulled []*write             // by this removal, and void if it succeeds
	tokens   []token              // of its way to the store
	marked   *journal.Transaction // that has this in the journal; nil for not needed
	since    time.Time            // when its first change came
	bytes    int64                // as the bounds count it

	at       time.Time // when it is due; all that follows up to left is of pending writes
	expires  time.Time // as the attempt at the store sets it
	first    time.Time // that of the first attempt that may have been applied
	attempts int
	sent     bool // as the journal has it: the change may have begun its session

	left atomic.Bool // a caller didn't wait for the end
	done chan struct{}
	outcome
}

// outcome is how a write has ended, or an attempt of it that failed.
type outcome struct {
	snapshot *tiers.Snapshot
	err      error
	panicked any // what the store has panicked with
}

// result raises the store's panic in the caller.
func (o *outcome) result() (*tiers.Snapshot, error) {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.snapshot, o.err
}

// writeOf is the write of a change, whose first caller has the context.
func writeOf(ctx context.Context, c change) *write {
	w := &write{change: c, ctx: ctx, calls: 1, since: time.Now(), done: make(chan struct{})}
	w.at = w.since.Add(c.delay)
	if w.causes.Add(ctx); w.pending {
		w.ctx = context.Background() // it may outlive the request by hours
	}
	return w
}

const (
	firstBackoff = 25 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// again schedules the next attempt of a write that has failed, and reports false if it is to be
// given up, as its session has expired by then. The pause doubles, and a random half of it keeps nodes apart.
func (w *write) again(deadline time.Time) bool {
	pause := lastBackoff
	if w.attempts < 7 {
		pause = firstBackoff << w.attempts
	}
	w.attempts++
	now := time.Now()
	w.at = now.Add(pause/2 + rand.N(pause/2))
	if w.at.After(deadline) {
		w.at = deadline
	}
	return now.Before(deadline)
}

// size is the memory that a write keeps while it waits: its change, its id, what it was made
// to, and the state that readers are shown, which is about as large.
func (c *change) size() int64 {
	set := c.delta.Set()
	size := writeBytes + int64(2*len(c.id)) + value.MapSize(len(set))
	for key, v := range set {
		size += int64(len(key)) + value.Size(v)
	}
	for _, key := range c.delta.Removed() {
		size += 16 + int64(len(key))
	}
	if base := c.delta.Base(); base != nil {
		size += 2 * base.Size()
	}
	return size
}

// writeBytes is a write itself, with its delta.
const writeBytes = 400

// isLone reports whether it isn't known what the store makes of the values: that may fail or panic, which concerns no
// other caller.
func (c *change) isLone() bool { return c.delta != nil && !c.delta.CanPreview() }

// empties reports whether the write may leave no session: it sets no key.
func (w *write) empties() bool {
	return w.delta != nil && !w.delta.Empty() && len(w.delta.Set()) == 0
}

// merge takes another change in, if one commit can hold both.
func (w *write) merge(ctx context.Context, c change) bool {
	if w.delta == nil || w.isLone() || c.isLone() || w.pending != c.pending {
		return false
	}
	merged, ok := w.delta.Merge(c.delta)
	if ok {
		w.delta, w.ttl = merged, c.ttl
		w.calls++
		w.causes.Add(ctx)
	}
	return ok
}

var errLate = tiers.NewError("strata: the store didn't take a write in time; it may still be applied", context.DeadlineExceeded)

// wait returns the outcome, or why the caller can't wait for it any longer: its own context, or
// the write's timeout, also for stores that ignore theirs.
func (w *write) wait(ctx context.Context, timeout time.Duration) (*tiers.Snapshot, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var why error
	select {
	case <-w.done:
		return w.result()
	case <-ctx.Done():
		why = failure.UnderWay(ctx.Err())
	case <-timer.C:
		why = errLate
	}
	w.left.Store(true) // before it looks: an end after that sees it
	if w.ended() {
		return w.result()
	}
	return nil, why
}

func (w *write) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}
