package coalesce

import (
	"container/list"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// sessionQueue holds a session's writes: those that wait, the oldest first, and the one that is at the store. A
// removal waits in front of all others, as it annuls what waited before.
//
// The queues' mutex guards all fields.
type sessionQueue struct {
	id      string
	flying  *write
	waiting []*write
	room    [1]*write       // for waiting, as most queues have one write
	entry   uint64          // of what the journal keeps of it, 0 for nothing
	old     uint64          // an entry that goes when the next one is put, so that a crash in between loses nothing; 0 for none
	stored  *tiers.Snapshot // what the store held before all that is pending, nil if that isn't known
	changes int32           // writes that change the session

	ttl      time.Duration // of the last request that has used the session since something is pending
	deadline time.Time     // until when the session is to live for it, whichever of the writes comes to the store

	urgent bool       // a caller waits, though the first write needn't go yet; this and what follows is the schedule's
	node   string     // of the store that has the session, if known
	in     *list.List // nil for none
	place  *list.Element
	until  *due // in which it waits until it is due, nil for none
	index  int
	at     time.Duration // when it is due
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

// newest is the last change of the session, which may be at the store. It is nil if the queue is empty.
func (k *sessionQueue) newest() *write {
	if w := k.last(); w != nil {
		return w
	}
	return k.flying
}

// removal is the session's removal, nil if none waits.
func (k *sessionQueue) removal() *write {
	if first := k.first(); first != nil && first.delta == nil {
		return first
	}
	return nil
}

// each goes through the writes in the order in which they are applied.
func (k *sessionQueue) each(do func(*write)) {
	if k.flying != nil {
		do(k.flying)
	}
	for _, w := range k.waiting {
		do(w)
	}
}

// annul has a removal, or the one that waits already, wait in place of all writes. They end with it: their changes
// are void if the session is gone.
func (k *sessionQueue) annul(removal *write) *write {
	annulled := k.waiting
	if waits := k.removal(); waits != nil { // it serves both callers
		removal, annulled = waits, annulled[1:]
	}
	removal.annulled = append(removal.annulled, annulled...)
	k.waiting, k.stored = []*write{removal}, nil
	return removal
}

// take has the first write go to the store.
func (k *sessionQueue) take() *write {
	k.flying, k.waiting = k.waiting[0], k.waiting[1:]
	return k.flying
}

// back has a write that was at the store wait in front of all others.
func (k *sessionQueue) back(w *write) { k.waiting = append([]*write{w}, k.waiting...) }

// extend has what is pending keep the session alive for as long as a slide would. A deadline that is early by less than
// what is added to a ttl stays, unless the write that is at the store sets less. It holds the session if it sets the
// expiry for sure: a write that only removes keys, or a conditional one, may find nothing to write.
func (k *sessionQueue) extend(ttl, added time.Duration) (holds, extended bool) {
	deadline := time.Now().Add(ttl)
	extended = ttl != k.ttl || deadline.Sub(k.deadline) > added ||
		k.flying != nil && k.flying.pending && deadline.After(k.flying.first)
	if extended {
		k.ttl, k.deadline = ttl, deadline
	}
	w := k.last()
	return w != nil && w.pending && !w.empties() && !w.delta.IsConditional(), extended
}

// preview returns the state of a session that readers see, given the store's: with pending writes, and without
// writes for which callers still wait, whose end notifies caches by itself.
func (k *sessionQueue) preview(stored *tiers.Snapshot) *tiers.Snapshot {
	state := stored
	k.each(func(w *write) {
		if w.pending {
			state = w.delta.Preview(state, true)
		}
	})
	if state != nil && !state.Published() {
		state = state.AsPublished()
	}
	return state
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
	state := k.preview(k.stored)
	if state == nil {
		k.stored = nil
	}
	return state
}

// landed is the preview after a write has ended. The next write is then one of a request that was given
// what the store holds.
func (k *sessionQueue) landed(w *write) *tiers.Snapshot {
	k.stored = nil
	if w.snapshot == nil || k.removal() != nil {
		return nil
	}
	if next := k.first(); next != nil {
		next.delta = next.delta.Rebase(w.snapshot)
	}
	if w.err != nil {
		return nil
	}
	state := k.preview(w.snapshot)
	if state != nil {
		k.stored = w.snapshot
	}
	return state
}
