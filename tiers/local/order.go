package local

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// order decides which of the states that reads and writes of the store return are kept in memory,
// and invalidates the others. A session's calls begin and end under its stripe's lock.
//
// published is atomic; the other fields are set at construction and guard themselves.
type order struct {
	memory    *memory
	flights   *flights
	own       *ownWrites
	tally     *telemetry.Tally
	reporter  *telemetry.Reporter
	published atomic.Bool // by a layer below: a state that its reads and commits return is kept by then
}

// calls are the reads and writes of the store that are under way for the sessions of one
// hash, and the states that were returned meanwhile. Readers may have seen each of these.
//
// It is certain that a state is newer than another only if its call began after the other one
// was returned. So a call keeps its state only if no different one was returned since it began;
// else neither stays in memory.
type calls struct {
	running  int
	writing  int    // of those
	deadline int64  // set by the first invalidation while one writes; 0: there was none
	epoch    uint64 // the guard's; a new one counts as a state that isn't known
	returned uint64 // how many states were returned
	alike    uint64 // since the state of this number, all have been the same
	known    bool   // the latest state is known
	state    *tiers.Snapshot
}

// call is a read or a write of the store.
type call struct {
	hash  uint64
	stamp uint64 // the guard's, held before it began
	after uint64 // calls.returned when it began
	write bool
}

// begin is called before the store is asked.
func (o *order) begin(hash uint64, write bool) call {
	stripe := o.memory.lock(hash)
	defer stripe.Unlock()
	return o.enter(stripe, hash, write)
}

// enter is begin under the stripe's lock.
func (o *order) enter(stripe *stripe, hash uint64, write bool) call {
	u := stripe.calls[hash]
	if u == nil {
		if stripe.calls == nil {
			stripe.calls = map[uint64]*calls{}
		}
		u = &calls{}
		stripe.calls[hash] = u
	}
	u.watch(o.memory.guard.Epoch())
	u.running++
	if write {
		if u.writing++; u.writing == 1 {
			u.deadline = 0
		}
	}
	return call{hash: hash, stamp: o.memory.guard.Hold(hash), after: u.returned, write: write}
}

// end ends a call, and returns with the stripe locked.
func (o *order) end(c call) (*stripe, *calls) {
	stripe := o.memory.lock(c.hash)
	u := stripe.calls[c.hash]
	u.watch(o.memory.guard.Epoch())
	if u.running--; u.running == 0 {
		delete(stripe.calls, c.hash)
	}
	if c.write {
		u.writing--
	}
	return stripe, u
}

func (u *calls) watch(epoch uint64) {
	if u.epoch != epoch {
		u.epoch = epoch
		u.note(false, nil)
	}
}

// note notes a state that was returned.
func (u *calls) note(known bool, state *tiers.Snapshot) {
	u.returned++
	if !known || !u.known || !u.state.Same(state) {
		u.alike = u.returned
	}
	u.known, u.state = known, state
}

// agree reports whether all states that were returned since a call began are the same as its state.
func (u *calls) agree(c call, state *tiers.Snapshot) bool {
	return u.returned == c.after || u.alike <= c.after+1 && u.known && u.state.Same(state)
}

// loaded ends a read, and keeps its result if no other state can be newer; shown says that readers will
// see it. loaded returns false if the session was invalidated since the read began.
func (o *order) loaded(c call, id string, read tiers.Read, began int64, shown bool) (current bool) {
	stripe, u := o.end(c)
	defer stripe.Unlock()
	if read.Snapshot.Published() && o.published.Load() {
		return false // it is kept already
	}
	e := &entry{id: id, snapshot: read.Snapshot, absent: read.Snapshot == nil, loaded: began}
	before, v := o.memory.held(c.hash, id)
	o.flights.forget(flightKey{id: id, stamp: v.stamp}) // it may return an older state
	current = v.stamp == c.stamp
	same := before != nil && before.snapshot.Same(e.snapshot)
	newest := current && u.returned == c.after
	if !same && (shown || newest) {
		u.note(true, e.snapshot)
	}
	if e.stamp = c.stamp; before != nil {
		e.own = before.own
	}
	if kept := o.memory.find(c.hash); kept != nil && kept.id == id && kept.stamp == e.stamp {
		e.until = kept.until // the session lives so long, if the store doesn't say
	}
	o.memory.bound(e)
	switch {
	case same && (newest || current && e.until < before.until):
		if e.snapshot != nil { // so that a preview of the entry before fits this one
			e.snapshot = e.snapshot.ReadAt(before.snapshot.Read())
		}
		o.memory.keep(c.hash, e)
	case same:
	case newest:
		// Another state under the same stamp may be found later, if ristretto has it, or is about to.
		if before != nil || slices.Contains(stripe.given[:], c.hash) {
			e.stamp = o.memory.guard.Renew(c.hash, u.epoch)
		}
		o.memory.keep(c.hash, e)
	case before != nil && (shown || current):
		o.memory.guard.Bump(c.hash)
		o.tally.AddAt(telemetry.InvalidatedByOwnWrite, c.hash)
	}
	return current
}

// wrote ends a write. The entry is the session's new state, nil if that isn't known; it
// is kept unless another state was returned meanwhile.
func (o *order) wrote(c call, e *entry) {
	o.tally.AddAt(telemetry.InvalidatedByWrite, c.hash)
	stripe, u := o.end(c)
	defer stripe.Unlock()
	var state *tiers.Snapshot
	if e != nil {
		state = e.snapshot
	}
	if state != nil && !u.agree(c, state) {
		e = nil
	}
	u.note(state != nil, state)
	if e == nil {
		o.memory.guard.Bump(c.hash)
		return
	}
	o.put(u, c.hash, e, u.deadline)
}

// put keeps the state that a write has made, under the stripe's lock. If a deadline is set, an invalidation came while
// the write was under way, and may be about another node's: the state is read again.
func (o *order) put(u *calls, hash uint64, e *entry, deadline int64) {
	e.stamp = o.memory.guard.Renew(hash, u.epoch)
	o.memory.bound(e)
	o.memory.keep(hash, e)
	if deadline != 0 && e.snapshot != nil {
		o.doubt(hash, e.id, deadline, telemetry.InvalidatedByOwnWrite)
	}
}

// doubt has the session read again after an invalidation that may be about a write of this node, or
// else invalidates it, under the stripe's lock.
func (o *order) doubt(hash uint64, id string, deadline int64, cause telemetry.Count) {
	e, _ := o.memory.held(hash, id)
	taken, delay := o.own.notified(e, deadline)
	if taken {
		o.flights.forget(flightKey{id: id, stamp: e.stamp}) // it may have begun before
	} else {
		o.memory.guard.Bump(hash)
		o.tally.AddAt(cause, hash)
	}
	if delay >= 0 {
		o.reporter.Delayed(delay)
	}
}

// leave ends a call that has returned no state, or one that is kept already.
func (o *order) leave(c call) {
	stripe, _ := o.end(c)
	stripe.Unlock()
}

// reread begins to read the state of an entry again. It isn't ok if the entry was invalidated, or while a write of
// the session is under way: most writes end with a newer state, and else the entry waits for its next turn, as long as it may be served.
func (o *order) reread(e *entry) (r rereading, ok bool) {
	stripe := o.memory.lock(e.hash)
	defer stripe.Unlock()
	if kept := o.memory.lookup(e.hash); kept != nil && kept.own == e.own {
		e = kept // with what was changed since
	}
	if e.stamp != o.memory.guard.Stamp(e.hash) {
		return rereading{}, false
	}
	if u := stripe.calls[e.hash]; u != nil && u.writing > 0 {
		if !e.own.trusted(o.memory.now()) || !o.own.later(e) { // a load under its stamp would not be served either
			o.memory.guard.Bump(e.hash)
			o.tally.AddAt(telemetry.InvalidatedByOwnWrite, e.hash)
		}
		return rereading{}, false
	}
	return rereading{entry: e, call: o.enter(stripe, e.hash, false)}, true
}

// spoil ends a read in the background that has failed, and invalidates its session.
func (o *order) spoil(c call, e *entry) {
	stripe, _ := o.end(c)
	if o.memory.guard.Stamp(c.hash) == c.stamp {
		o.memory.guard.Bump(c.hash)
		o.tally.AddAt(telemetry.InvalidatedByOwnWrite, c.hash)
	}
	stripe.Unlock()
	o.unread(e)
}

// unread invalidates what was kept under a new stamp while the entry was to be read again, as that will not happen
// any more, and what waits for it isn't served.
func (o *order) unread(e *entry) {
	stripe := o.memory.lock(e.hash)
	defer stripe.Unlock()
	if kept, _ := o.memory.held(e.hash, e.id); kept != nil && kept.own == e.own && !o.own.waits(e.own) {
		o.memory.guard.Bump(e.hash)
		o.tally.AddAt(telemetry.InvalidatedByOwnWrite, e.hash)
	}
}

// slid ends a slide, after which the session expires at the given time. The entry that was current when the slide
// began is kept with that expiry, unless it has expired: the session may be another one by now. The store notifies of
// a slide as of a write.
func (o *order) slid(c call, id string, ttl time.Duration, at time.Time) {
	stripe, u := o.end(c)
	defer stripe.Unlock()
	e := o.memory.lookup(c.hash)
	switch {
	case e == nil || e.id != id || e.snapshot == nil:
	case e.stamp == c.stamp && u.agree(c, e.snapshot) && o.memory.now() < o.memory.ends(e.snapshot):
		slid, deadline := *e, u.deadline
		if e.own != nil && e.own.until.Load() != 0 { // it waits to be read again
			deadline = e.own.until.Load()
		}
		slid.snapshot, slid.own = e.snapshot.Expiring(at), o.own.of(ttl)
		o.put(u, c.hash, &slid, deadline)
	case e.stamp == o.memory.guard.Stamp(c.hash): // loaded meanwhile
		o.memory.guard.Bump(c.hash)
	}
}

// cap ends a slide that set an unknown expiry: the session is served until the given moment at most.
func (o *order) cap(c call, id string, until int64) {
	stripe, u := o.end(c)
	defer stripe.Unlock()
	e, v := o.memory.look(c.hash)
	if e == nil || e.id != id || e.stamp != v.stamp || e.until <= until {
		return
	}
	capped := *e
	capped.stamp, capped.until = o.memory.guard.Renew(c.hash, u.epoch), until
	if e.snapshot != nil {
		if _, known := e.snapshot.Expires(); known {
			capped.snapshot = e.snapshot.Expiring(o.memory.time(until))
		}
	}
	o.memory.keep(c.hash, &capped)
}

// notified receives an invalidation of the store. It invalidates the session, or has it read again if
// the invalidation may be about a write of this node.
func (o *order) notified(hash uint64, id string) {
	deadline := o.own.deadline()
	stripe := o.memory.lock(hash)
	defer stripe.Unlock()
	if u := stripe.calls[hash]; u != nil && u.writing > 0 && u.deadline == 0 {
		u.deadline = deadline
	}
	o.doubt(hash, id, deadline, telemetry.InvalidatedByStore)
}

// invalidate invalidates all entries of the hash, after a write whose outcome isn't known.
func (o *order) invalidate(hash uint64, cause telemetry.Count) {
	o.tally.AddAt(cause, hash)
	stripe := o.memory.lock(hash)
	defer stripe.Unlock()
	if u := stripe.calls[hash]; u != nil {
		u.note(false, nil)
	}
	o.memory.guard.Bump(hash)
}

// preview keeps a state that a pending write has made of the kept one. In the order of states both count
// as the same.
func (o *order) preview(hash uint64, id string, state *tiers.Snapshot) {
	stripe := o.memory.lock(hash)
	defer stripe.Unlock()
	u, epoch := stripe.calls[hash], o.memory.guard.Epoch()
	before, v := o.memory.held(hash, id)
	made := before != nil && before.stands(id, v) && state != nil && before.snapshot.Read().Equal(state.Read())
	if u != nil && u.known {
		if u.known = made && u.state.Same(before.snapshot); u.known {
			u.state = state
		}
	}
	if !made {
		o.memory.guard.Bump(hash)
		return
	}
	e := &entry{id: id, snapshot: state, stamp: o.memory.guard.Renew(hash, epoch), loaded: before.loaded, own: before.own}
	o.memory.bound(e)
	o.memory.keep(hash, e)
}
