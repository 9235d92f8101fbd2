package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// view holds the pending writes that a read adds to the store's state: those of before the store was asked.
type view struct {
	all     *queues
	id      string
	queue   *sessionQueue // nil if nothing is pending
	changes []seen
	stored  *tiers.Snapshot // what the store held before them, nil if that isn't known
	tokens  []token         // until the caches were notified
	wait    *write          // that ends before the store may be asked, nil for none
}

// seen is one write of a view.
type seen struct {
	write *write
	delta *tiers.Delta
}

// look returns what a read must show, and the last of the writes that it must wait for first: those that a
// caller has left, as its error says that they may yet be applied, and those that wait in the journal of a closed chain.
func (l *queues) look(id string) *view {
	v := &view{all: l, id: id}
	l.inspect(id, func(k *sessionQueue) {
		k.each(func(w *write) {
			switch {
			case !w.pending && !w.left.Load():
			case !w.pending, l.schedule.closed:
				v.wait = w
			default:
				v.changes = append(v.changes, seen{write: w, delta: w.delta})
			}
		})
		switch {
		case v.wait != nil:
			l.hasten(k, true)
		case len(v.changes) > 0:
			v.queue, v.stored, v.tokens = k, k.stored, l.caches.begin(id)
		}
	})
	return v
}

var errWaits = tiers.NewError("strata: the store didn't take what waits for this session in time", context.DeadlineExceeded)

// before looks, and waits for what a read must wait for.
func (l *queues) before(ctx context.Context, id string) (*view, error) {
	v := l.look(id)
	if v.wait == nil {
		return v, nil
	}
	timer := time.NewTimer(l.carrier.timeout.get())
	defer timer.Stop()
	for ; v.wait != nil; v = l.look(id) {
		select {
		case <-v.wait.done:
		case <-l.carrier.ended.Done():
			return v, errLeft
		case <-timer.C:
			return v, errWaits
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
	return v, nil
}

// leave ends what the view has begun, unless the caches were notified.
func (v *view) leave() {
	if len(v.tokens) == 0 {
		return
	}
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.all.caches.end(v.id, v.tokens)
	v.tokens = nil
}

// overlay lays what waits over what the store has returned, and notifies the caches. It isn't ok if
// something was committed meanwhile, or may have been: the store may have returned it, and what other nodes have
// changed since, or not. Then what waited before is laid over it, and no cache keeps that.
func (v *view) overlay(stored *tiers.Snapshot, ttl time.Duration) (state *tiers.Snapshot, ok bool) {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	ok = v.all.sessions[v.id] == v.queue
	for _, c := range v.changes {
		ok = ok && !c.write.ended() && c.write.delta.IsConditional() == c.delta.IsConditional()
	}
	if !ok {
		return v.over(stored), false
	}
	state = v.queue.preview(stored)
	v.queue.stored = stored
	v.all.caches.became(v.id, ttl, v.tokens, state)
	v.tokens = nil
	return state, true
}

// over adds the changes to the state that the store has returned, except those that have failed.
func (v *view) over(state *tiers.Snapshot) *tiers.Snapshot {
	for _, c := range v.changes {
		if !c.write.ended() || c.write.err == nil {
			state = c.delta.Preview(state, false)
		}
	}
	return state
}
