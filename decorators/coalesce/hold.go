package coalesce

import (
	"container/list"
	"context"
	"math/rand/v2"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// hold is what a batch is kept by that nobody waits for: it is retried until the
// session would have expired. The lanes' mutex guards all fields.
type hold struct {
	at       time.Time // when it is due
	accepted time.Time // when its first change was
	deadline time.Time // the session's expiry, as its last change wants it
	attempts int
	bytes    int64
	claimed  bool          // a caller waits after all, and gets its failure
	entries  []uint64      // its records in the journal
	place    *list.Element // among all that are held
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

// life is the time to live that the commit sets: the ttl and the part more that a slide
// sets, counted from the request whose change it is (law 8).
func (l *lanes) life(b *batch) time.Duration {
	longer := l.longer(b.ttl)
	if b.hold == nil {
		return longer
	}
	return max(time.Until(b.hold.deadline)+longer-b.ttl, time.Millisecond)
}

// accept takes a change that nobody waits for, to be committed within wait, and answers
// what the session is from now on, where that is known. At a bound it waits for room,
// whatever becomes of the caller, as the change must not get lost. It isn't ok once
// the lanes are being closed.
func (l *lanes) accept(ctx context.Context, id string, delta *tiers.Delta, ttl, wait time.Duration, record []byte) (held *batch, shown *tiers.Snapshot, ok bool, err error) {
	size := (&batch{id: id, delta: delta}).size()
	l.mu.Lock()
	for !l.draining && l.full(id, size) {
		l.rush()
		room := l.room
		l.crowd++
		l.mu.Unlock()
		<-room
		l.mu.Lock()
		l.crowd--
	}
	if l.draining {
		l.mu.Unlock()
		return nil, nil, false, nil
	}
	now := time.Now()
	k := l.lane(id)
	fresh := k.flying == nil && len(k.waiting) == 0
	b := k.last()
	if b == nil || b.hold == nil || b.hold.claimed || !b.join(ctx, delta, ttl) {
		b = &batch{delta: delta, ttl: ttl, hold: &hold{accepted: now, at: now.Add(wait)}}
		l.enqueue(ctx, k, b)
		l.hold(k, b)
	}
	b.hold.deadline = now.Add(ttl)
	l.grow(b)
	shown = k.show(delta, fresh)
	l.caches.shown(id, ttl, shown)
	var synced <-chan error
	if l.journal != nil {
		var entry uint64
		entry, synced = l.journal.Append(record)
		b.hold.entries = append(b.hold.entries, entry)
	}
	if l.near() {
		b.hold.at = time.Time{}
		l.rush()
	}
	l.arrange(k)
	l.mu.Unlock()
	l.tally.Add(telemetry.Changes)
	if synced != nil {
		select {
		case err = <-synced:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return b, shown, true, err
}

// show is the state that the session's readers see, now that the lane has the delta
// too. It can be told where every change that waits was made to a state that was
// loaded from here.
func (k *lane) show(delta *tiers.Delta, fresh bool) *tiers.Snapshot {
	base := k.shown
	if fresh {
		base = delta.Base()
	}
	k.shown = nil
	if base != nil && !base.Read().IsZero() && delta.Shows() && !delta.Creates() {
		if k.shown = delta.Show(base); k.shown != nil {
			k.shown = k.shown.Tell()
		}
	}
	return k.shown
}

// full reports whether a change has no room; one that is larger than all of it goes
// alone. It is called under mu, as all that follows is.
func (l *lanes) full(id string, size int64) bool {
	k := l.lanes[id]
	return l.heldLanes >= l.maxLanes && (k == nil || k.held == 0) ||
		l.heldBytes > 0 && l.heldBytes+size > l.maxBytes
}

// near reports whether changes should go at once, as a bound is three quarters reached.
func (l *lanes) near() bool {
	return l.heldLanes > l.maxLanes/4*3 || l.heldBytes > l.maxBytes/4*3
}

// hold notes a batch that is held from now on. They come in the order in which they were
// accepted, those of the journal first, so that the oldest is the first one.
func (l *lanes) hold(k *lane, b *batch) {
	if k.held++; k.held == 1 {
		l.heldLanes++
	}
	b.hold.place = l.accepted.PushBack(b.hold)
}

// grow notes one more change in a held batch.
func (l *lanes) grow(b *batch) {
	l.heldChanges++
	l.heldBytes -= b.hold.bytes
	b.hold.bytes = b.size()
	l.heldBytes += b.hold.bytes
}

// release makes the room of a held batch free.
func (l *lanes) release(k *lane, b *batch) {
	l.accepted.Remove(b.hold.place)
	l.heldChanges -= b.changes
	if k.held--; k.held == 0 {
		l.heldLanes--
		k.shown = nil
	}
	l.heldBytes -= b.hold.bytes
	if l.journal != nil {
		l.journal.Drop(b.hold.entries)
	}
	l.admit()
}

// admit wakes those who wait for room.
func (l *lanes) admit() {
	if l.crowd > 0 {
		close(l.room)
		l.room = make(chan struct{})
	}
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
