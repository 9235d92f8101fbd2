package coalesce

import (
	"container/list"
	"sync"
	"time"
)

// bounds count the changes that aren't in the store yet, also those for which a caller waits, and say when another
// change has room (law 9). The queues' mutex guards all fields.
type bounds struct {
	maxSessions int
	maxBytes    int64

	sessions int
	changes  int
	bytes    int64
	removals int
	guests   list.List // of chan struct{}: callers that wait for room, the first to come in front
}

// fits lets a change that is larger than all the room in alone. It is fresh if no change of
// its session is in yet.
func (b *bounds) fits(size int64, fresh bool) bool {
	return (b.sessions < b.maxSessions || !fresh) && (b.bytes == 0 || b.bytes+size <= b.maxBytes)
}

// near reports whether changes should go at once, as a bound is three quarters reached.
func (b *bounds) near() bool {
	return b.sessions > b.maxSessions/4*3 || b.bytes > b.maxBytes/4*3
}

// wait has a caller wait until its change fits, and those that came before have gone. It gives mu up meanwhile, and
// returns false if that is over too late.
func (b *bounds) wait(mu *sync.Mutex, fits func() bool, over <-chan time.Time) bool {
	turn := make(chan struct{}, 1)
	place := b.guests.PushBack(turn)
	defer func() {
		b.guests.Remove(place)
		b.next()
	}()
	for late := false; b.guests.Front() != place || !fits(); {
		if late {
			return false
		}
		mu.Unlock()
		select {
		case <-turn:
		case <-over:
			late = true
		}
		mu.Lock()
	}
	return true
}

// next has the first of the guests look whether it has room. Once it is in, it calls next.
func (b *bounds) next() {
	if first := b.guests.Front(); first != nil {
		select {
		case first.Value.(chan struct{}) <- struct{}{}:
		default: // it is about to look
		}
	}
}

// add counts a write of a queue, and grow more calls in it.
func (b *bounds) add(k *sessionQueue, w *write) {
	if w.delta == nil {
		b.removals++
		return
	}
	if k.changes++; k.changes == 1 {
		b.sessions++
	}
	b.grow(w, w.calls)
}

func (b *bounds) grow(w *write, calls int) {
	b.changes += calls
	b.bytes -= w.bytes
	w.bytes = w.size()
	b.bytes += w.bytes
}

// release makes the room of a write free.
func (b *bounds) release(k *sessionQueue, w *write) {
	if w.delta == nil {
		b.removals--
		return
	}
	if k.changes--; k.changes == 0 {
		b.sessions--
	}
	b.changes -= w.calls
	b.bytes -= w.bytes
	b.next()
}
