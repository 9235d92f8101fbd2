package coalesce

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// queues hold the writes of each session. One write of a session is at the store at a time, so that its
// commits and removals happen in the order in which they came. A change that is accepted, or whose caller has
// left, leaves its queue only into the store or into a report.
//
// The first block is set by init, except timeout, which is atomic; reports and slides guard
// themselves. mu guards the rest: a queue is in the map while anything of it waits or is at the store.
type queues struct {
	shard   func(id string) string
	store   tiers.Storage
	batcher tiers.Batcher   // nil if the store takes no batches
	ended   context.Context // calls of the store end with it
	end     context.CancelFunc
	timeout duration // of a write
	journal records
	slides  *slides
	reports *reports
	tally   *telemetry.Tally

	mu       sync.Mutex
	sessions map[string]*sessionQueue
	schedule schedule
	bounds   bounds
	caches   caches // above
	draining bool   // callers of new changes wait for the store
}

func (l *queues) init(store tiers.Storage, circuits *circuit.Store, o Options) {
	l.shard, l.sessions = circuits.Shard, map[string]*sessionQueue{}
	l.store, l.batcher = store, tiers.BatcherOf(store)
	l.ended, l.end = context.WithCancel(context.Background())
	s := &l.schedule
	s.mu, s.circuit, s.fly, s.carry = &l.mu, circuits.Writes, l.fly, l.carry
	s.nodes, s.slots, s.began = map[string]*node{}, map[moment]*slot{}, time.Now()
	switch s.together = 1; {
	case l.batcher != nil:
		s.most, s.together = pipelines, pipelineSize
	case o.WriteBehind > 0:
		s.most = writers
	default:
		s.most = waitedFor
	}
}

// follow notifies a cache until stop is called.
func (l *queues) follow(cache tiers.CommitListener) (stop func()) {
	s := &subscription{cache: cache}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caches.all = append(l.caches.all, s)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.caches.all = slices.DeleteFunc(l.caches.all, func(other *subscription) bool { return other == s })
	}
}

// restore opens the journal and lets what it holds go to the store.
func (l *queues) restore(dir string) error {
	j, found, damaged, err := journal.Open(dir)
	if err != nil {
		return err
	}
	l.journal.journal = j
	l.mu.Lock()
	defer l.mu.Unlock()
	for range damaged {
		l.lose(GiveUp{Changes: 1, Cause: errDamaged})
	}
	for _, f := range found {
		var old record
		if err := json.Unmarshal(f.Content, &old); err != nil || len(old.Changes) == 0 {
			lost := GiveUp{Changes: old.Lost, Cause: errBefore}
			if lost.Changes == 0 {
				lost = GiveUp{Changes: 1, Cause: errDamaged}
			}
			l.lose(lost)
			j.Drop(f.Entry)
			continue
		}
		k := l.queue(string(old.ID), "")
		if k.entry != 0 {
			j.Drop(k.entry)
		}
		k.entry = f.Entry
		for _, c := range old.Changes {
			if w, err := c.write(); err != nil {
				l.lose(GiveUp{Changes: c.Calls, Cause: err})
				l.journal.keep(k)
			} else {
				l.enqueue(context.Background(), k, w)
			}
		}
		l.arrange(k)
	}
	return nil
}

// add puts a change into its session's queue, as a write of its own or in the one that is returned.
// shown is what the session's readers see from then on, if that is known, and synced brings nil when
// the journal has the change, if there is one. A change that came to be pending is awaited once the queues
// are being closed. If there is no write, the caller carries the change out.
func (l *queues) add(ctx context.Context, c change) (w *write, shown *tiers.Snapshot, synced <-chan error, err error) {
	node := l.shard(c.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enter(c); err != nil {
		return nil, nil, nil, err
	}
	if l.passed(c.id) {
		return nil, nil, nil, nil
	}
	l.tally.Add(telemetry.Changes)
	c.pending = c.pending && !l.draining
	k := l.queue(c.id, node)
	first := k.newest() == nil
	if w = k.last(); w != nil && w.merge(ctx, c) {
		l.bounds.grow(w, 1)
	} else {
		w = &write{change: c, calls: 1, since: time.Now()}
		w.at = w.since.Add(c.delay)
		// A write that goes at once is on its way before its record is on disk, so that the record
		// says so from the first.
		w.sent = c.delay == 0 && first && l.schedule.node(k.node).stands()
		l.enqueue(ctx, k, w)
	}
	if !w.pending {
		l.hasten(k, true)
		return w, nil, nil, nil
	}
	w.deadline = time.Now().Add(c.ttl)
	shown = k.accepted(c.delta, first)
	l.caches.shown(c.id, c.ttl, shown)
	synced = l.journal.keep(k)
	l.schedule.arrange(k)
	if l.bounds.near() {
		l.schedule.rush()
	}
	return w, shown, synced, nil
}

var errFull = tiers.NewError("strata: too many changes of sessions wait for the store; nothing of this one was written", nil)

// enter waits until there is room for a change, one that is awaited for the write timeout at
// most, and whatever becomes of the caller, as the change must not get lost. It gives mu up
// meanwhile.
func (l *queues) enter(c change) error {
	b, size := &l.bounds, c.size()
	fits := func() bool {
		k := l.sessions[c.id]
		return l.draining || b.fits(size, k == nil || k.changes == 0)
	}
	if b.guests.Len() == 0 && fits() {
		return nil
	}
	l.schedule.rush()
	var over <-chan time.Time
	if !c.pending {
		timer := time.NewTimer(l.timeout.get())
		defer timer.Stop()
		over = timer.C
	}
	turn, late := make(chan struct{}, 1), false
	place := b.guests.PushBack(turn)
	defer func() {
		b.guests.Remove(place)
		b.next()
	}()
	for !l.draining && (b.guests.Front() != place || !fits()) {
		if late {
			return errFull
		}
		l.mu.Unlock()
		select {
		case <-turn:
		case <-over:
			late = true
		}
		l.mu.Lock()
	}
	return nil
}

// remove annuls the writes that wait in the queue, and removes the session next. Annulled writes end with the
// removal: their changes are void if the session is gone.
func (l *queues) remove(ctx context.Context, id string) error {
	node := l.shard(id)
	l.mu.Lock()
	switch {
	case l.passed(id):
		l.mu.Unlock()
		return l.store.RemoveAll(ctx, id)
	case l.bounds.removals >= l.bounds.maxSessions:
		l.mu.Unlock()
		return errFull
	}
	k := l.queue(id, node)
	removal, annulled := &write{calls: 1}, k.waiting
	if k.removing() { // that removal serves both callers
		removal, annulled = k.waiting[0], k.waiting[1:]
		k.waiting = k.waiting[:1]
	} else {
		k.waiting = nil
		l.enqueue(ctx, k, removal)
	}
	k.stored, removal.annulled = nil, append(removal.annulled, annulled...)
	l.arrange(k)
	l.mu.Unlock()
	if _, err := removal.wait(ctx, l.timeout.get(), nil); err != nil {
		return err
	}
	return l.journal.await(ctx, (*journal.Journal).Dropped)
}

// passed reports whether a call bypasses the queues, as they are being closed. It is called under mu, as all
// functions up to abandon are.
func (l *queues) passed(id string) bool {
	return l.schedule.closed || l.draining && l.sessions[id] == nil
}

func (l *queues) queue(id, node string) *sessionQueue {
	k := l.sessions[id]
	if k == nil {
		k = &sessionQueue{id: strings.Clone(id)} // it may be a part of a header
		l.sessions[k.id] = k
	}
	if k.in == nil {
		k.node = node
	}
	return k
}

func (l *queues) enqueue(ctx context.Context, k *sessionQueue, w *write) {
	w.id, w.ctx, w.done = k.id, ctx, make(chan struct{})
	if w.pending {
		w.ctx = context.Background() // it may outlive the request by hours
	}
	w.causes.Add(ctx)
	k.waiting = append(k.waiting, w)
	l.bounds.add(k, w)
}

// hasten makes all writes in the queue due. One that a caller waits for is also sent while the store is away.
func (l *queues) hasten(k *sessionQueue, awaited bool) {
	for _, w := range k.waiting {
		if w.pending {
			w.at = time.Time{}
		}
	}
	k.urgent = k.urgent || awaited
	l.arrange(k)
}

// arrange has the queue's first write go when it is due, and drops an empty queue.
func (l *queues) arrange(k *sessionQueue) {
	if l.schedule.arrange(k); k.newest() == nil {
		delete(l.sessions, k.id)
	}
}

// fly takes the queue's first write.
func (l *queues) fly(k *sessionQueue) *write {
	w := k.waiting[0]
	k.flying, k.waiting = w, k.waiting[1:]
	l.journal.mark(k, w)
	w.tokens = l.caches.begin(k.id)
	return w
}

// finish ends a write of the queue with its outcome.
func (l *queues) finish(k *sessionQueue, w *write, snapshot *tiers.Snapshot, err error) {
	l.bounds.release(k, w)
	if w.pending {
		l.journal.keep(k)
	}
	w.snapshot, w.err = snapshot, err
	close(w.done)
	if err != nil && !w.pending && w.left.Load() {
		l.reports.failed(err, nil)
	}
}

// back has a write wait for its next attempt.
func (l *queues) back(k *sessionQueue, w *write) {
	l.caches.end(k.id, w.tokens)
	for _, failed := range w.claims {
		failed <- attempt{w.err, w.panicked}
		w.panicked = nil // one caller's alone
	}
	w.claims, w.snapshot, w.err, w.panicked = nil, nil, nil, nil
	k.waiting = append([]*write{w}, k.waiting...)
}

// pending counts the changes that aren't in the store yet, and returns how long the oldest has waited.
func (l *queues) pending() (changes int, bytes int64, oldest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	writes, _ := l.waiting()
	now := time.Now()
	for _, w := range writes {
		if w.delta != nil {
			oldest = max(oldest, now.Sub(w.since))
		}
	}
	return l.bounds.changes, l.bounds.bytes, oldest
}

// waiting lists the writes that aren't in the store, and counts the calls that made them.
func (l *queues) waiting() (writes []*write, calls int) {
	for _, k := range l.sessions {
		k.each(func(w *write) { writes = append(append(writes, w), w.annulled...) })
	}
	for _, w := range writes {
		calls += w.calls
	}
	return writes, calls
}

// flush makes all that waits due, and waits for it, until the queues are closed.
func (l *queues) flush(ctx context.Context) error {
	l.mu.Lock()
	for _, k := range l.sessions {
		l.hasten(k, false)
	}
	writes, _ := l.waiting()
	l.mu.Unlock()
	for _, w := range writes {
		select {
		case <-w.done:
			continue
		case <-ctx.Done():
		case <-l.ended.Done(): // what the journal keeps doesn't end
		}
		if err := l.undelivered(cmp.Or(ctx.Err(), error(errClosed))); err != nil {
			return err
		}
	}
	return l.journal.await(ctx, (*journal.Journal).Sync)
}

// undelivered is nil if nothing waits.
func (l *queues) undelivered(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, calls := l.waiting()
	if calls == 0 {
		return nil
	}
	return tiers.NewError(fmt.Sprintf("strata: %d changes of sessions are not in the store yet", calls), why)
}

var (
	errCallback = tiers.NewError("strata: Close was called by OnGiveUp, for which it would have to wait; call it from another goroutine", nil)
	errClosed   = tiers.NewError("strata: the chain was closed before the store took the write", nil)
)

// close flushes, and when ctx ends it ends the writes that are under way. Pending writes then stay in the journal,
// or are given up without one. gone is called when no worker is left.
func (l *queues) close(ctx context.Context, gone func()) error {
	l.mu.Lock()
	l.draining = true
	l.bounds.next()
	l.mu.Unlock()
	var err error
	for {
		err = l.flush(ctx)
		l.mu.Lock()
		if err != nil || len(l.sessions) == 0 {
			break
		}
		l.mu.Unlock() // later changes of sessions that were being written
	}
	again := l.schedule.closed
	l.schedule.close()
	kept := l.abandon()
	l.mu.Unlock()
	l.slides.close()
	l.end()
	if kept > 0 && !again {
		l.reports.stay(kept)
	}
	idle := start(func() error {
		l.schedule.crew.Wait()
		gone()
		return nil
	})
	if err == nil { // nothing waits any more: the workers are on their way out
		_ = within(ctx, idle)
	}
	l.reports.close(ctx)
	return errors.Join(err, l.journal.close(ctx))
}

// grace is the time that Close allows for work without the store after ctx has ended.
const grace = 100 * time.Millisecond

func start(do func() error) (done <-chan error) {
	c := make(chan error, 1)
	go func() { c <- do() }()
	return c
}

func within(ctx context.Context, done <-chan error) error {
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

// abandon ends what waits in the queues, as it won't be carried out. With a journal pending writes stay;
// it counts their changes.
func (l *queues) abandon() (kept int) {
	var lost []*write
	for _, k := range l.sessions {
		waiting := k.waiting
		k.waiting = nil
		for _, w := range waiting {
			if w.pending && l.journal.isOpen() {
				k.waiting, kept = append(k.waiting, w), kept+w.calls
				continue
			}
			ends := append(w.annulled, w)
			w.annulled = nil
			for _, w := range ends {
				l.finish(k, w, nil, errClosed)
			}
			lost = append(lost, ends...)
		}
		if k.flying != nil && k.flying.pending && l.journal.isOpen() {
			kept += k.flying.calls
		}
		l.arrange(k)
	}
	l.gaveUp(errClosed, lost...)
	return kept
}

// claim waits for a write that was accepted, or for its next attempt that fails. The write goes
// on then, as it holds changes of others, which were accepted.
func (l *queues) claim(ctx context.Context, w *write) (*tiers.Snapshot, error) {
	failed := make(chan attempt, 1)
	l.mu.Lock()
	if !w.ended() {
		w.claims = append(w.claims, failed)
		l.hasten(l.sessions[w.id], true)
	}
	l.mu.Unlock()
	return w.wait(ctx, l.timeout.get(), failed)
}

// inspect has the session's queue looked at, if it has one.
func (l *queues) inspect(id string, look func(k *sessionQueue)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.sessions[id]; k != nil {
		look(k)
	}
}

// newest is the session's last write, which may be at the store, nil if there is none.
func (l *queues) newest(id string) (w *write) {
	l.inspect(id, func(k *sessionQueue) { w = k.newest() })
	return w
}

// extend has what waits for the session keep it alive for as long as a slide would.
func (l *queues) extend(id string, ttl time.Duration) (extended bool) {
	l.inspect(id, func(k *sessionQueue) {
		if w := k.last(); w != nil && w.pending && !w.empties() && ttl > 0 {
			w.ttl, w.deadline, extended = ttl, time.Now().Add(ttl), true
		}
	})
	return extended
}

// mayBeEmpty reports whether the last change of the session that is known here has set no key: by the rules of
// Apply the session may be gone.
func (l *queues) mayBeEmpty(id string) bool {
	e, _ := l.slides.get(id)
	found := e.emptied
	l.inspect(id, func(k *sessionQueue) {
		k.each(func(w *write) { found = found || w.empties() })
	})
	return found
}

// look returns what a read must show, and the last of the writes that it must wait for first: those that a
// caller has left, as its error says that they may yet be applied, and those with values of which only
// the store knows what it makes of them.
func (l *queues) look(id string) *view {
	v := &view{id: id}
	l.inspect(id, func(k *sessionQueue) {
		k.each(func(w *write) {
			switch {
			case !w.pending && !w.left.Load():
			case !w.pending, !w.delta.CanPreview():
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
	timer := time.NewTimer(l.timeout.get())
	defer timer.Stop()
	for ; v.wait != nil; v = l.look(id) {
		select {
		case <-v.wait.done:
		case <-timer.C:
			return v, errWaits
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
	return v, nil
}

// leave ends what the view has begun, unless the caches were notified.
func (l *queues) leave(v *view) {
	if len(v.tokens) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caches.end(v.id, v.tokens)
	v.tokens = nil
}

// overlay lays what waits over what the store has returned, and notifies the caches. It isn't ok if
// something was committed meanwhile: the store may have returned it, and what other nodes have
// changed since, or not. Then what waited before is laid over it, and no cache keeps that.
func (l *queues) overlay(v *view, stored *tiers.Snapshot, ttl time.Duration) (state *tiers.Snapshot, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := v.queue
	ok = l.sessions[v.id] == k
	for _, c := range v.changes {
		ok = ok && !c.write.ended()
	}
	if ok {
		state, ok = k.preview(stored)
	}
	if !ok {
		return v.over(stored), false
	}
	k.stored = stored
	l.caches.became(k.id, ttl, v.tokens, state)
	v.tokens = nil
	return state, true
}

// gaveUp reports those of the writes that were accepted and aren't in the store. It is called
// before they leave the journal.
func (l *queues) gaveUp(cause error, writes ...*write) {
	var lost GiveUp
	for _, w := range writes {
		if w.pending {
			lost.join(GiveUp{Changes: w.calls, Attempts: w.attempts, Age: time.Since(w.since), Cause: cause})
		}
	}
	l.lose(lost)
}

func (l *queues) lose(lost GiveUp) {
	if lost.Changes > 0 {
		l.tally.AddN(telemetry.GiveUps, lost.Changes)
		l.reports.gaveUp(lost)
	}
}
