package coalesce

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// lanes hold what waits for each session. One batch of a session is at the store at a
// time, so that its commits and removals happen in the order in which they came. What is
// accepted, and what a caller doesn't wait for any longer, leaves its lane only into the store
// or into a report.
//
// The first block is set by init, and reports guard themselves. mu guards the rest: a lane is
// in the map while anything of it waits or is at the store.
type lanes struct {
	store   tiers.Storage
	batcher tiers.Batcher // nil where the store takes no batches
	shard   func(id string) string
	timeout time.Duration
	journal *journal.Journal // nil for none
	caches  *caches          // above, that are told
	tally   *telemetry.Tally
	longer  func(ttl time.Duration) time.Duration // what is set for a ttl
	landed  func(b *batch, began time.Time)       // a commit is in the store
	reports reports
	ended   context.Context // the lanes' life
	end     context.CancelFunc

	mu       sync.Mutex
	lanes    map[string]*lane
	dispatch dispatch
	room     room
	draining bool // nothing is accepted any more that nobody waits for
	closed   bool
}

// lane is what waits for one session, oldest first, and what is at the store.
type lane struct {
	id      string
	node    string // of the store that has the session, as far as is known
	flying  *batch
	waiting []*batch
	batches int             // that change the session
	entry   uint64          // of what the journal keeps of it, 0 for nothing
	shown   *tiers.Snapshot // with all that nobody waits for, where that is known

	in     *list.List // of its node's queue, nil for none
	place  *list.Element
	urgent bool // somebody waits, though the first batch needn't go yet
	at     time.Time
	number int // among the appointments, from 1; 0 for none
}

func (l *lanes) init(store tiers.Storage, circuits *circuit.Store, o options) {
	l.store, l.shard, l.timeout = store, circuits.Shard, o.writeTimeout
	l.room.maxSessions, l.room.maxBytes = o.maxPending, o.maxBytes
	l.batcher = tiers.BatcherOf(store)
	l.lanes = map[string]*lane{}
	l.ended, l.end = context.WithCancel(context.Background())
	d := &l.dispatch
	d.mu, d.circuit, d.fly, d.carry, d.together = &l.mu, circuits.Writes, l.fly, l.carry, 1
	d.queues = map[string]*queue{}
	switch {
	case l.batcher != nil:
		d.most, d.together, d.early = pipelines, pipelineSize, min(o.interval/8, mostEarly)
	case o.interval > 0:
		d.most = writers
	default:
		d.most = waitedFor
	}
}

// commit adds a change to its lane and waits for its batch. One that is lone joins no other.
func (l *lanes) commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration, lone bool) (*tiers.Snapshot, error) {
	node := l.shard(id)
	l.mu.Lock()
	if l.passed(id) {
		l.mu.Unlock()
		return write(ctx, l.store, id, delta, ttl)
	}
	if err := l.enter(id, delta, l.timeout); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	k := l.lane(id, node)
	b := k.last()
	if b == nil || b.hold != nil || b.lone || lone || !b.join(ctx, delta, ttl) {
		b = &batch{delta: delta, ttl: ttl, lone: lone}
		l.enqueue(ctx, k, b)
	} else {
		l.room.grow(b, 1)
	}
	l.hasten(k, true)
	l.mu.Unlock()
	l.tally.Add(telemetry.Changes)
	return b.wait(ctx, l.timeout, nil)
}

var errFull = tiers.NewError("strata: too many changes of sessions wait for the store; nothing of this one was written", nil)

// enter waits until there is room for a change, for as long as patience lasts where it isn't
// 0, and whatever becomes of the caller, as the change must not get lost. It is called under
// mu, which it gives up meanwhile.
func (l *lanes) enter(id string, delta *tiers.Delta, patience time.Duration) error {
	if l.draining {
		return nil
	}
	k := l.lanes[id]
	g := l.room.ask((&batch{id: id, delta: delta}).size(), k == nil || k.batches == 0)
	if g == nil {
		return nil
	}
	l.dispatch.rush()
	l.mu.Unlock()
	var over <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		over = timer.C
	}
	refused := false
	select {
	case <-g.in:
	case <-over:
		refused = true
	}
	l.mu.Lock()
	if refused = refused && g.place != nil; refused {
		l.room.leave(g)
		return errFull
	}
	l.room.leave(g)
	return nil
}

// remove annuls what waits in the lane, and removes the session next. What it annuls gets
// its outcome: it is void where the session is gone.
func (l *lanes) remove(ctx context.Context, id string) error {
	node := l.shard(id)
	l.mu.Lock()
	switch {
	case l.passed(id):
		l.mu.Unlock()
		return l.store.RemoveAll(ctx, id)
	case l.room.removals >= l.room.maxSessions:
		l.mu.Unlock()
		return errFull
	}
	k, waiting := l.lane(id, node), []*batch(nil)
	k.waiting, waiting = nil, k.waiting
	var b *batch
	for _, w := range waiting {
		if w.delta == nil {
			b = w // another removal that waits does for both
			k.waiting = []*batch{b}
		}
	}
	if b == nil {
		b = &batch{}
		l.enqueue(ctx, k, b)
	}
	for _, w := range waiting {
		if w != b {
			b.annulled = append(b.annulled, w)
		}
	}
	l.arrange(k)
	l.mu.Unlock()
	if _, err := b.wait(ctx, l.timeout, nil); err != nil {
		return err
	}
	return l.forgotten(ctx)
}

// passed reports whether a call goes past the lanes, as they are being closed. It is
// called under mu, as all up to abandon is.
func (l *lanes) passed(id string) bool {
	return l.closed || l.draining && l.lanes[id] == nil
}

func (l *lanes) lane(id, node string) *lane {
	k := l.lanes[id]
	if k == nil {
		k = &lane{id: strings.Clone(id)} // it may be a part of a header
		l.lanes[k.id] = k
	}
	if k.in == nil {
		k.node = node
	}
	return k
}

func (l *lanes) enqueue(ctx context.Context, k *lane, b *batch) {
	b.id, b.ctx, b.done, b.changes = k.id, context.WithoutCancel(ctx), make(chan struct{}), 1
	if b.hold != nil {
		b.ctx = context.Background() // it may outlive the request by hours
	}
	b.causes.Add(ctx)
	k.waiting = append(k.waiting, b)
	l.room.add(k, b)
}

// last is the batch that a change may join.
func (k *lane) last() *batch {
	if len(k.waiting) == 0 {
		return nil
	}
	return k.waiting[len(k.waiting)-1]
}

// each goes through the lane's batches in the order in which they are applied.
func (k *lane) each(do func(*batch)) {
	if k.flying != nil {
		do(k.flying)
	}
	for _, b := range k.waiting {
		do(b)
	}
}

// removing reports whether the session's removal waits.
func (k *lane) removing() bool { return len(k.waiting) > 0 && k.waiting[0].delta == nil }

// hasten makes all that waits in the lane due. What somebody waits for doesn't wait until
// the store is known to be back.
func (l *lanes) hasten(k *lane, awaited bool) {
	for _, b := range k.waiting {
		if b.hold != nil {
			b.hold.at = time.Time{}
		}
	}
	k.urgent = k.urgent || awaited
	l.arrange(k)
}

// arrange sees to it that the lane's first batch goes when it is due, and gives an empty lane
// up.
func (l *lanes) arrange(k *lane) {
	l.dispatch.arrange(k)
	if k.flying == nil && len(k.waiting) == 0 {
		delete(l.lanes, k.id)
	}
}

// fly takes the lane's first batch.
func (l *lanes) fly(k *lane) *batch {
	b := k.waiting[0]
	k.flying, k.waiting = b, k.waiting[1:]
	l.mark(k, b)
	b.alone = b.hold != nil && b.try == nil
	b.tickets = l.caches.begin(k.id)
	return b
}

// finish tells everybody who waits for a batch of the lane.
func (l *lanes) finish(k *lane, b *batch, snapshot *tiers.Snapshot, err error) {
	l.room.release(k, b)
	if b.hold != nil {
		l.record(k)
	}
	if k.batches == 0 {
		k.shown = nil
	}
	b.snapshot, b.err = snapshot, err
	b.tried(err)
	close(b.done)
}

// back has a batch wait for its next attempt.
func (l *lanes) back(k *lane, b *batch) {
	l.caches.end(k.id, b.tickets)
	b.tried(b.err)
	b.snapshot, b.err, b.panicked = nil, nil, nil
	k.waiting = append([]*batch{b}, k.waiting...)
}

// pending lists what isn't in the store, and counts the changes of that.
func (l *lanes) pending() (batches []*batch, changes int) {
	for _, k := range l.lanes {
		k.each(func(b *batch) { batches = append(append(batches, b), b.annulled...) })
	}
	for _, b := range batches {
		changes += b.changes
	}
	return batches, changes
}

// flush makes all that waits due, and waits for it, unless the lanes were closed.
func (l *lanes) flush(ctx context.Context) error {
	l.mu.Lock()
	for _, k := range l.lanes {
		l.hasten(k, false)
	}
	batches, changes := l.pending()
	closed := l.closed
	l.mu.Unlock()
	if closed && changes > 0 {
		return undelivered(changes, errClosed)
	}
	for _, b := range batches {
		select {
		case <-b.done:
		case <-ctx.Done():
			l.mu.Lock()
			_, changes := l.pending()
			l.mu.Unlock()
			return undelivered(changes, ctx.Err())
		}
	}
	return l.synced(ctx)
}

func undelivered(changes int, why error) error {
	return tiers.NewError(fmt.Sprintf("strata: %d changes of sessions are not in the store yet", changes), why)
}

var errCallback = tiers.NewError("strata: Close was called by OnGiveUp, for which it would have to wait; call it from another goroutine", nil)

// close flushes, and ends what is still under way when ctx does. What is then neither in the
// store nor given up stays in the journal, and is given up where there is none. gone is
// called when no worker is left.
func (l *lanes) close(ctx context.Context, stay func(changes int), gone func()) error {
	if inCallback() {
		return errCallback
	}
	l.mu.Lock()
	l.draining = true
	l.room.open()
	l.mu.Unlock()
	var err error
	for {
		err = l.flush(ctx)
		l.mu.Lock()
		if err != nil || len(l.lanes) == 0 {
			break
		}
		l.mu.Unlock() // later changes of sessions that were being written
	}
	again := l.closed
	l.closed = true
	l.dispatch.idle = gone
	working := l.dispatch.close()
	lost, kept := l.abandon()
	l.mu.Unlock()
	l.end()
	if lost.Changes > 0 {
		l.gaveUp(lost)
	}
	if kept > 0 && !again {
		stay(kept)
	}
	if !working {
		gone()
	}
	if err == nil { // nothing waits any more: they are on their way out
		_ = within(ctx, func() error { l.dispatch.crew.Wait(); return nil })
	}
	l.reports.close(ctx)
	if l.journal != nil {
		err = errors.Join(err, within(ctx, l.journal.Close))
	}
	return err
}

// over reports whether the lanes were closed.
func (l *lanes) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// grace is what Close allows for what doesn't depend on the store, where ctx has ended.
const grace = 100 * time.Millisecond

func within(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return ctx.Err()
	}
}

// abandon ends what waits in the lanes, as nobody will carry it out, and answers what is
// lost of what was accepted. What a journal holds stays.
func (l *lanes) abandon() (lost GiveUp, kept int) {
	for _, k := range l.lanes {
		var stays []*batch
		for _, b := range k.waiting {
			if b.hold != nil && l.journal != nil {
				stays, kept = append(stays, b), kept+b.changes
				continue
			}
			ends := append(b.annulled, b)
			b.annulled = nil
			for _, w := range ends {
				if lost.add(w); w.left.Load() && w.hold == nil {
					l.reports.failed(errClosed, nil)
				}
				l.finish(k, w, nil, errClosed)
			}
		}
		k.waiting = stays
		if k.flying != nil && k.flying.hold != nil && l.journal != nil {
			kept += k.flying.changes
		}
		if l.dispatch.arrange(k); k.flying == nil && len(stays) == 0 {
			delete(l.lanes, k.id)
		}
	}
	lost.Cause = errClosed
	return lost, kept
}

var errClosed = tiers.NewError("strata: the chain was closed before the store took the write", nil)

// accept takes a change that nobody waits for, to be committed within wait, and answers
// what the session is from now on, where that is known. At a bound it waits for room. It isn't
// ok once the lanes are being closed.
func (l *lanes) accept(ctx context.Context, id string, delta *tiers.Delta, ttl, wait time.Duration) (held *batch, shown *tiers.Snapshot, ok bool, err error) {
	node := l.shard(id)
	l.mu.Lock()
	if _ = l.enter(id, delta, 0); l.draining {
		l.mu.Unlock()
		return nil, nil, false, nil
	}
	now := time.Now()
	k := l.lane(id, node)
	fresh := k.flying == nil && len(k.waiting) == 0
	b := k.last()
	if b == nil || b.hold == nil || !b.join(ctx, delta, ttl) {
		b = &batch{delta: delta, ttl: ttl, hold: &hold{at: now.Add(wait)}}
		// What goes at once is on its way before its record is on disk: that says so from the
		// first.
		b.hold.sent = wait == 0 && fresh && l.dispatch.standing(k.node)
		l.enqueue(ctx, k, b)
	} else {
		l.room.grow(b, 1)
	}
	b.hold.deadline = now.Add(ttl)
	shown = k.show(delta, fresh)
	l.caches.shown(id, ttl, shown)
	synced := l.record(k)
	if l.room.near() {
		if b.hold.attempts == 0 {
			b.hold.at = time.Time{}
		}
		l.dispatch.rush()
	}
	l.arrange(k)
	l.mu.Unlock()
	l.tally.Add(telemetry.Changes)
	if synced != nil {
		err = await(ctx, synced)
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

// claim waits for a batch that was accepted, or for its next attempt that fails. That goes
// on then, as the batch holds changes of others, whose callers were told that they were
// accepted.
func (l *lanes) claim(ctx context.Context, id string, choose func(k *lane) *batch) (claimed bool, snapshot *tiers.Snapshot, err error) {
	l.mu.Lock()
	k := l.lanes[id]
	if k == nil {
		l.mu.Unlock()
		return false, nil, nil
	}
	b := choose(k)
	if b == nil || b.hold == nil {
		l.mu.Unlock()
		return false, nil, nil
	}
	if b.try == nil {
		b.try = &try{failed: make(chan struct{})}
	}
	try := b.try
	l.hasten(k, true)
	l.mu.Unlock()
	snapshot, err = b.wait(ctx, l.timeout, try)
	return true, snapshot, err
}

// newest is the last change of the session, which may be at the store.
func (k *lane) newest() *batch {
	if b := k.last(); b != nil {
		return b
	}
	return k.flying
}

// extend has what waits for the session keep it alive for as long as a slide would.
func (l *lanes) extend(id string, ttl time.Duration) (waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil || ttl <= 0 {
		return false
	}
	if b := k.last(); b != nil && b.hold != nil && b.delta != nil && !b.empties() {
		b.hold.deadline = time.Now().Add(ttl)
		b.ttl = ttl
		return true
	}
	return false
}

// emptying reports whether a change that may leave no session waits, or is at the store.
func (l *lanes) emptying(id string) (found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.lanes[id]; k != nil {
		k.each(func(b *batch) { found = found || b.empties() })
	}
	return found
}

// ttl is that of the change after which a session's next one must come.
func (l *lanes) ttl(id string) (ttl time.Duration, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil {
		return 0, false
	}
	if b := k.newest(); b != nil && b.delta != nil {
		return b.ttl, true
	}
	return 0, false
}

func (l *lanes) waits(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lanes[id] != nil
}

// carry brings batches to the store and sees to what becomes of each. Trying whether the
// store is back takes less time than a write may.
func (l *lanes) carry(batches []*batch, try time.Duration) {
	began := time.Now()
	defer l.settle(batches, began) // also where the store ends the goroutine
	patience := l.timeout
	if try > 0 {
		patience = min(patience, try)
	}
	ready := make([]*batch, 0, len(batches))
	for _, b := range batches {
		if b.marked != nil {
			b.err, b.marked = <-b.marked, nil
		}
		if b.err == nil {
			ready = append(ready, b)
		} else {
			b.err = tiers.NotApplied(b.err)
		}
	}
	switch len(ready) {
	case 0:
	case 1:
		l.run(ready[0], patience, try > 0)
	default:
		l.together(ready, patience)
	}
}

// run carries the batch out. A panic of the store is raised again in the caller, and in
// nobody else's: changes that could panic were encoded before they were joined.
func (l *lanes) run(b *batch, patience time.Duration, probe bool) {
	ctx, cancel := context.WithTimeout(crew.Within(l.ended, b.causes.Attach(b.ctx)), patience)
	defer cancel()
	if probe {
		ctx = circuit.AsProbe(ctx)
	}
	finished := false
	defer func() {
		if !finished {
			b.panicked, b.err = recover(), errAborted
		}
	}()
	if b.delta == nil {
		b.err = l.store.RemoveAll(ctx, b.id)
	} else {
		b.snapshot, b.err = write(ctx, l.store, b.id, b.delta, l.life(b))
	}
	if b.alone && b.err == nil && l.store.Style(ctx) == tiers.StyleDirect {
		b.err = touch(ctx, l.store, b.id, l.life(b))
	}
	finished = true
}

// write brings a delta to a store of either style.
func write(ctx context.Context, store tiers.Storage, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if store.Style(ctx) == tiers.StyleDirect {
		return nil, writeKeys(ctx, store, id, delta, ttl)
	}
	return store.Commit(ctx, id, delta, ttl)
}

// together sends the batches' commits in one call. The values of one caller's context
// stand for all. A store that panics there fails all of them, and no caller hears of what.
func (l *lanes) together(batches []*batch, patience time.Duration) {
	var causes telemetry.Causes
	for _, b := range batches {
		causes.Merge(b.causes)
	}
	ctx, cancel := context.WithTimeout(crew.Within(l.ended, causes.Attach(batches[0].ctx)), patience)
	defer cancel()
	commits := make([]tiers.Commit, len(batches))
	for n, b := range batches {
		commits[n] = tiers.Commit{ID: b.id, Delta: b.delta, TTL: l.life(b)}
		b.err = errAborted
	}
	defer func() { _ = recover() }()
	for n, result := range l.batcher.CommitAll(ctx, commits) {
		batches[n].snapshot, batches[n].err = result.Snapshot, result.Err
	}
}

var errAborted = tiers.NewError("strata: the store panicked or ended the goroutine of a write, which may have been applied", nil)

// life is the time to live that the commit sets: the ttl and the part more that a slide
// sets, counted from the request whose change it is (law 8).
func (l *lanes) life(b *batch) time.Duration {
	longer := l.longer(b.ttl)
	if b.hold == nil {
		return longer
	}
	return max(time.Until(b.hold.deadline)+longer-b.ttl, time.Millisecond)
}

// settle takes down what has become of batches.
func (l *lanes) settle(batches []*batch, began time.Time) {
	for _, b := range batches {
		l.count(b)
		if b.err == nil && b.delta != nil {
			l.landed(b, began)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range batches {
		l.land(b, began)
	}
}

// count counts what came of a commit that the store was asked for.
func (l *lanes) count(b *batch) {
	switch {
	case b.delta == nil, errors.Is(b.err, circuit.ErrOpen):
	case b.err == nil && b.panicked == nil:
		l.tally.Add(telemetry.CommitOK)
	case errors.Is(b.err, tiers.ErrRevoked):
		l.tally.Add(telemetry.CommitRevoked)
	default:
		l.tally.Add(telemetry.CommitFailed)
	}
}

// land ends a batch or lets it wait for its next attempt. It is called under mu, as all that
// follows is.
func (l *lanes) land(b *batch, began time.Time) {
	k := l.lanes[b.id]
	k.flying = nil
	defer l.arrange(k)
	if b.snapshot != nil {
		b.snapshot = b.snapshot.ReadAt(began).Tell()
		if len(k.waiting) > 0 && !k.removing() {
			k.waiting[0].delta = k.waiting[0].delta.Onto(b.snapshot)
		}
	}
	if b.hold == nil || b.err == nil {
		l.conclude(k, b)
		return
	}
	refused := errors.Is(b.err, circuit.ErrOpen)
	switch {
	case l.closed && l.journal != nil: // undelivered
		l.back(k, b)
	case k.removing():
		l.caches.end(k.id, b.tickets)
		k.waiting[0].annulled = append(k.waiting[0].annulled, b)
	case refused && !l.closed:
		l.back(k, b)
		l.unmark(k, b)
	case !tiers.IsFinal(b.err) && b.hold.again() && !l.closed:
		applied := tiers.MayBeApplied(b.err)
		l.tally.Add(telemetry.Retries)
		l.reports.failed(nil, b.err)
		if l.back(k, b); applied {
			b.delta = b.delta.Conditional(b.delta.Base())
		} else {
			l.unmark(k, b)
		}
	default:
		lost := GiveUp{Cause: b.err}
		lost.add(b)
		l.gaveUp(lost)
		l.conclude(k, b)
	}
}

// conclude ends a batch whose outcome is known. What a removal has annulled is void with the
// session, and else it is told why it wasn't written.
func (l *lanes) conclude(k *lane, b *batch) {
	if b.err != nil && b.hold == nil && b.left.Load() {
		l.reports.failed(b.err, nil)
	}
	lost, outcome := GiveUp{Cause: b.err}, error(tiers.ErrRevoked)
	if b.err != nil {
		outcome = b.err
	}
	k.become(b)
	l.caches.became(k.id, b.ttl, b.tickets, k.shown)
	for _, w := range b.annulled {
		if b.err != nil {
			lost.add(w)
		}
		l.finish(k, w, nil, outcome)
	}
	if lost.Changes > 0 {
		l.gaveUp(lost)
	}
	l.finish(k, b, b.snapshot, b.err)
}

// gaveUp counts and reports changes that were accepted and aren't in the store.
func (l *lanes) gaveUp(lost GiveUp) {
	l.tally.AddN(telemetry.GiveUps, lost.Changes)
	l.reports.gaveUp(lost)
}

// become notes what readers see after the batch, with what still waits.
func (k *lane) become(b *batch) {
	k.shown = nil
	if b.err != nil || b.snapshot == nil {
		return
	}
	shown := b.snapshot
	for _, w := range k.waiting {
		if w.hold == nil {
			continue // its own landing tells
		}
		if w.delta == nil || !w.delta.Shows() {
			return
		}
		if shown = w.delta.Show(shown); shown == nil {
			return
		}
	}
	if !shown.Told() {
		shown = shown.Tell()
	}
	k.shown = shown
}
