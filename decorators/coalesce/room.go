package coalesce

import (
	"container/list"
	"time"
)

// room counts what the lanes hold that isn't in the store yet, whether or not somebody waits
// for it, and lets changes in up to a bound, in the order in which they came (law 9). The
// lanes' mutex guards all fields.
type room struct {
	maxSessions int
	maxBytes    int64

	sessions int
	changes  int
	bytes    int64
	removals int
	batches  list.List // the oldest first
	guests   list.List // that wait to be let in, the first to come in front
}

// guest is a change that waits for room. Once it is let in, its room is kept for it.
type guest struct {
	size  int64
	fresh bool // no change of its session is in yet
	in    chan struct{}
	place *list.Element // nil once it is let in
}

// ask answers nil where a change has room now.
func (r *room) ask(size int64, fresh bool) *guest {
	if r.guests.Len() == 0 && r.fits(size, fresh) {
		return nil
	}
	g := &guest{size: size, fresh: fresh, in: make(chan struct{})}
	g.place = r.guests.PushBack(g)
	return g
}

// fits lets a change that is larger than all the room in alone.
func (r *room) fits(size int64, fresh bool) bool {
	return (r.sessions < r.maxSessions || !fresh) && (r.bytes == 0 || r.bytes+size <= r.maxBytes)
}

// near reports whether changes should go at once, as a bound is three quarters reached.
func (r *room) near() bool { return r.sessions > r.maxSessions/4*3 || r.bytes > r.maxBytes/4*3 }

// admit lets the guests in that have room by now.
func (r *room) admit() {
	for first := r.guests.Front(); first != nil && r.fits(first.Value.(*guest).size, first.Value.(*guest).fresh); first = r.guests.Front() {
		g := first.Value.(*guest)
		r.keep(g, 1)
		r.let(g)
	}
}

// open lets all in, as nothing is held any more.
func (r *room) open() {
	for first := r.guests.Front(); first != nil; first = r.guests.Front() {
		g := first.Value.(*guest)
		g.size, g.fresh = 0, false
		r.let(g)
	}
}

func (r *room) let(g *guest) {
	r.guests.Remove(g.place)
	g.place = nil
	close(g.in)
}

// keep counts the room of a guest that was let in, or with -1 makes it free.
func (r *room) keep(g *guest, sign int) {
	r.bytes += int64(sign) * g.size
	if g.fresh {
		r.sessions += sign
	}
}

// leave is the end of a guest's waiting: it takes its room, or comes no more.
func (r *room) leave(g *guest) {
	if g.place != nil {
		r.guests.Remove(g.place)
		r.admit()
		return
	}
	r.keep(g, -1)
}

// add counts a batch of a lane, and grow one more change in it.
func (r *room) add(k *lane, b *batch) {
	if b.delta == nil {
		r.removals++
		return
	}
	if k.batches++; k.batches == 1 {
		r.sessions++
	}
	b.since, b.place = time.Now(), r.batches.PushBack(b)
	r.grow(b, b.changes)
}

func (r *room) grow(b *batch, changes int) {
	r.changes += changes
	r.bytes -= b.bytes
	b.bytes = b.size()
	r.bytes += b.bytes
}

// release makes the room of a batch free.
func (r *room) release(k *lane, b *batch) {
	if b.delta == nil {
		r.removals--
		return
	}
	if k.batches--; k.batches == 0 {
		r.sessions--
	}
	r.batches.Remove(b.place)
	r.changes -= b.changes
	r.bytes -= b.bytes
	r.admit()
}

// oldest is for how long the oldest change has been waiting.
func (r *room) oldest() time.Duration {
	if first := r.batches.Front(); first != nil {
		return time.Since(first.Value.(*batch).since)
	}
	return 0
}
