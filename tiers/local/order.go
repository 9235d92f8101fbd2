package local

import (
	"slices"
	"sync"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// keeping has a turn for each of 64 parts of the hashes, and so for each place among the warm.
type keeping [64]turn

func (k *keeping) turn(hash uint64) *turn { return &k[hash%uint64(len(k))] }

// turn is the lock under which entries of a hash are kept and its calls begin and end. It
// guards its fields, and all of those of calls. It is taken before the locks of echoes and flights.
type turn struct {
	sync.Mutex
	calls map[uint64]*calls
	given [8]uint64 // hashes of what ristretto was given last, which it may not have taken yet
	gifts int
}

func (t *turn) give(hash uint64) {
	t.given[t.gifts%len(t.given)] = hash
	t.gifts++
}

// calls are the reads and writes of the store that are under way for the sessions of one
// hash, and the states that were returned meanwhile, each of which readers may have seen.
//
// One state is newer than another only if its call began after the other one was returned.
// So a call keeps its state only if none that differs was returned since it began; else
// neither stays in memory.
type calls struct {
	running  int
	writing  int    // of those
	patience int64  // with the first announcement while one writes; 0: there was none
	epoch    uint64 // the guard's; a new one counts as a state that isn't known
	returned uint64 // states
	alike    uint64 // the number of the first of the latest ones that are all the same
	known    bool   // the latest
	state    *tiers.Snapshot
}

// call is a read or a write of the store.
type call struct {
	hash  uint64
	stamp uint64 // the guard's, held before it began
	after uint64 // states that had been returned
	write bool
}

// begin is called before the store is asked.
func (s *Storage) begin(hash uint64, write bool) call {
	turn := s.keeping.turn(hash)
	turn.Lock()
	defer turn.Unlock()
	return s.enter(turn, hash, write)
}

// enter is begin under the turn.
func (s *Storage) enter(turn *turn, hash uint64, write bool) call {
	u := turn.calls[hash]
	if u == nil {
		if turn.calls == nil {
			turn.calls = map[uint64]*calls{}
		}
		u = &calls{}
		turn.calls[hash] = u
	}
	u.watch(s.guard.Epoch())
	u.running++
	if write {
		if u.writing++; u.writing == 1 {
			u.patience = 0
		}
	}
	return call{hash: hash, stamp: s.guard.Hold(hash), after: u.returned, write: write}
}

// over counts a call off, under the turn.
func (s *Storage) over(turn *turn, c call) *calls {
	u := turn.calls[c.hash]
	u.watch(s.guard.Epoch())
	if u.running--; u.running == 0 {
		delete(turn.calls, c.hash)
	}
	if c.write {
		u.writing--
	}
	return u
}

func (u *calls) watch(epoch uint64) {
	if u.epoch != epoch {
		u.epoch = epoch
		u.note(false, nil)
	}
}

// note takes down a state that was returned.
func (u *calls) note(known bool, state *tiers.Snapshot) {
	u.returned++
	if !known || !u.known || !u.state.Same(state) {
		u.alike = u.returned
	}
	u.known, u.state = known, state
}

// agree reports whether all that was returned since a call began is the same as its state.
func (u *calls) agree(c call, state *tiers.Snapshot) bool {
	return u.returned == c.after || u.alike <= c.after+1 && u.known && u.state.Same(state)
}

// returned ends a read of the store; see loaded.
func (s *Storage) returned(c call, id string, read tiers.Read, began int64, shown bool) (current bool) {
	if read.Snapshot.Told() && s.sources.told.Load() {
		s.leave(c) // it is kept already
		return false
	}
	return s.loaded(c, &entry{id: id, snapshot: read.Snapshot, absent: read.Snapshot == nil, loaded: began}, shown)
}

// loaded ends a read, before readers are shown what it has returned if they are: the entry is
// kept if no other state can be newer. It reports whether no change of the session was
// announced since the read began.
func (s *Storage) loaded(c call, e *entry, shown bool) (current bool) {
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	u := s.over(turn, c)
	before, v := s.held(c.hash, e.id)
	s.flights.forget(flightKey{id: e.id, stamp: v.stamp}) // they may return something older
	current = v.stamp == c.stamp
	same := before != nil && before.snapshot.Same(e.snapshot)
	newest := current && u.returned == c.after
	if !same && (shown || newest) {
		u.note(true, e.snapshot)
	}
	if e.stamp = c.stamp; before != nil {
		e.echo = before.echo
	}
	s.bound(c.hash, e)
	switch {
	case same && (newest || current && e.until < before.until):
		if e.snapshot != nil { // changes that were made of it before are of this one
			e.snapshot = e.snapshot.ReadAt(before.snapshot.Read())
		}
		s.keep(c.hash, e)
	case same:
	case newest:
		// Another state under the same stamp may be found later, if ristretto has it, or is about to.
		if before != nil || slices.Contains(turn.given[:], c.hash) {
			e.stamp = s.guard.Renew(c.hash, u.epoch)
		}
		s.keep(c.hash, e)
	case before != nil && (shown || current):
		s.guard.Bump(c.hash)
		s.tally.AddAt(telemetry.InvalidatedByEcho, c.hash)
	}
	return current
}

// wrote ends a write. The entry is what the session has become, nil if that isn't known; it
// is kept unless another state was returned meanwhile.
func (s *Storage) wrote(c call, e *entry) {
	s.tally.AddAt(telemetry.InvalidatedByWrite, c.hash)
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	u := s.over(turn, c)
	var state *tiers.Snapshot
	if e != nil {
		state = e.snapshot
	}
	if state != nil && !u.agree(c, state) {
		e = nil
	}
	u.note(state != nil, state)
	if e == nil {
		s.guard.Bump(c.hash)
		return
	}
	s.put(u, c.hash, e)
}

// put keeps what a write has made of the session, under the turn. If an announcement came
// while it was under way, that may have been another node's, so that the state is read again.
func (s *Storage) put(u *calls, hash uint64, e *entry) {
	e.stamp = s.guard.Renew(hash, u.epoch)
	s.bound(hash, e)
	s.keep(hash, e)
	if u.patience == 0 || e.snapshot == nil {
		return
	}
	taken, delay := s.echoes.announced(e, u.patience)
	if !taken {
		s.guard.Bump(hash)
		s.tally.AddAt(telemetry.InvalidatedByEcho, hash)
	}
	if delay >= 0 {
		s.reporter.Delayed(delay)
	}
}

// leave ends a call that has returned no state, or one that is kept already.
func (s *Storage) leave(c call) {
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	s.over(turn, c)
}

// spoil ends a read in the background that has failed, and invalidates what was to be read
// again.
func (s *Storage) spoil(c call) {
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	s.over(turn, c)
	if s.guard.Stamp(c.hash) == c.stamp {
		s.guard.Bump(c.hash)
		s.tally.AddAt(telemetry.InvalidatedByEcho, c.hash)
	}
}

// slid ends a slide, after which the session expires at a moment. The entry that was current
// when it began stays, as nothing else has changed, though the store announces that.
func (s *Storage) slid(c call, id string, ttl time.Duration, at time.Time) {
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	u := s.over(turn, c)
	e := s.lookup(c.hash)
	switch {
	case e == nil || e.id != id || e.snapshot == nil:
	case e.stamp == c.stamp && u.agree(c, e.snapshot):
		slid := *e
		slid.snapshot, slid.echo = e.snapshot.Expiring(at), s.echoes.slid(e.echo, ttl)
		s.put(u, c.hash, &slid)
	case e.stamp == s.guard.Stamp(c.hash): // loaded meanwhile
		s.guard.Bump(c.hash)
	}
}

// cap ends a slide of which nobody says what it has set: the session is served until a moment
// at most.
func (s *Storage) cap(c call, id string, until int64) {
	turn := s.keeping.turn(c.hash)
	turn.Lock()
	defer turn.Unlock()
	u := s.over(turn, c)
	e, _ := s.held(c.hash, id)
	if e == nil || e.absent || e.until <= until {
		return
	}
	capped := *e
	capped.stamp, capped.until, capped.kept = s.guard.Renew(c.hash, u.epoch), until, min(e.kept, until)
	if _, known := e.snapshot.Expires(); known {
		capped.snapshot = e.snapshot.Expiring(s.start.Add(time.Duration(until)))
	}
	s.keep(c.hash, &capped)
}

// changed takes an announcement: it invalidates the session, or has it read again if the
// announcement may be of a write of this node.
func (s *Storage) changed(hash uint64, id string) {
	patience := s.echoes.patience()
	turn := s.keeping.turn(hash)
	turn.Lock()
	if u := turn.calls[hash]; u != nil && u.writing > 0 && u.patience == 0 {
		u.patience = patience
	}
	own, _ := s.held(hash, id)
	taken, delay := s.echoes.announced(own, patience)
	if !taken {
		s.guard.Bump(hash)
		s.tally.AddAt(telemetry.InvalidatedByAnnouncement, hash)
	}
	turn.Unlock()
	if delay >= 0 {
		s.reporter.Delayed(delay)
	}
}

// outdate invalidates what is kept under the hash, after a write whose outcome isn't known.
func (s *Storage) outdate(hash uint64, cause telemetry.Count) {
	turn := s.keeping.turn(hash)
	turn.Lock()
	if u := turn.calls[hash]; u != nil {
		u.note(false, nil)
	}
	s.guard.Bump(hash)
	turn.Unlock()
	s.tally.AddAt(cause, hash)
}

// shown keeps a state that was made of the kept one, with a change that waits: for the order
// of what the store returns it is the same.
func (s *Storage) shown(hash uint64, id string, state *tiers.Snapshot) {
	turn := s.keeping.turn(hash)
	turn.Lock()
	defer turn.Unlock()
	u, epoch := turn.calls[hash], s.guard.Epoch()
	before, v := s.held(hash, id)
	made := before != nil && before.stands(id, v) && state != nil && before.snapshot.Read().Equal(state.Read())
	if u != nil && u.known {
		if u.known = made && u.state.Same(before.snapshot); u.known {
			u.state = state
		}
	}
	if !made {
		s.guard.Bump(hash)
		return
	}
	e := &entry{id: id, snapshot: state, stamp: s.guard.Renew(hash, epoch), loaded: before.loaded, echo: before.echo}
	s.bound(hash, e)
	s.keep(hash, e)
}
