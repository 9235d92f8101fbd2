package coalesce

import (
	"container/list"

	"github.com/gf-strata/strata/tiers"
)

// sessionQueue holds a session's writes: those that wait, the oldest first, and the one that is at the store. The
// queues' mutex guards all fields.
type sessionQueue struct {
	id      string
	node    string // of the store that has the session, if known
	flying  *write
	waiting []*write
	changes int             // writes that change the session
	entry   uint64          // of what the journal keeps of it, 0 for nothing
	stored  *tiers.Snapshot // what the store held before all that is pending, nil if that isn't known

	in     *list.List // of the schedule, nil for none
	place  *list.Element
	urgent bool // a caller waits, though the first write needn't go yet
}

// first is the write that is next, nil for none.
func (k *sessionQueue) first() *write {
	if len(k.waiting) == 0 {
		return nil
	}
	return k.waiting[0]
}

// last is the write that a change may merge with.
func (k *sessionQueue) last() *write {
	if len(k.waiting) == 0 {
		return nil
	}
	return k.waiting[len(k.waiting)-1]
}

// newest is the last change of the session, which may be at the store.
func (k *sessionQueue) newest() *write {
	if w := k.last(); w != nil {
		return w
	}
	return k.flying
}

// removing reports whether the session's removal waits.
func (k *sessionQueue) removing() bool { return len(k.waiting) > 0 && k.waiting[0].delta == nil }

// each goes through the writes in the order in which they are applied.
func (k *sessionQueue) each(do func(*write)) {
	if k.flying != nil {
		do(k.flying)
	}
	for _, w := range k.waiting {
		do(w)
	}
}

// preview returns the state of a session that readers see, given the store's: with pending writes, and without
// writes for which callers still wait, whose end notifies caches by itself. It isn't known if only the store knows
// what a value is like when it is read again.
func (k *sessionQueue) preview(stored *tiers.Snapshot) (_ *tiers.Snapshot, known bool) {
	state, known := stored, true
	k.each(func(w *write) {
		switch {
		case !known, !w.pending:
		case !w.delta.CanPreview():
			known = false
		default:
			state = w.delta.Preview(state, true)
		}
	})
	if !known || state == nil {
		return nil, known
	}
	if !state.Published() {
		state = state.AsPublished()
	}
	return state, true
}

// accepted is the preview with a delta that was added last, nil if it isn't known. It is known
// if every change that waits was made to a state that was loaded from here.
func (k *sessionQueue) accepted(delta *tiers.Delta, first bool) *tiers.Snapshot {
	if first {
		k.stored = delta.Base()
	}
	if k.stored == nil || k.stored.Read().IsZero() || delta.Creates() {
		k.stored = nil
		return nil
	}
	state, known := k.preview(k.stored)
	if state == nil || !known {
		k.stored = nil
	}
	return state
}

// landed is the preview after a write has ended.
func (k *sessionQueue) landed(w *write) *tiers.Snapshot {
	if k.stored = nil; w.err != nil || w.snapshot == nil || k.removing() {
		return nil
	}
	state, _ := k.preview(w.snapshot)
	if state != nil {
		k.stored = w.snapshot
	}
	return state
}

// view holds the pending writes that a read adds to the store's state: those of before the store was asked.
type view struct {
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

// over adds the changes to the state that the store has returned, except those that have failed.
func (v *view) over(state *tiers.Snapshot) *tiers.Snapshot {
	for _, c := range v.changes {
		if !c.write.ended() || c.write.err == nil {
			state = c.delta.Preview(state, false)
		}
	}
	return state
}
