package coalesce

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// queues hold the writes of each session. One write of a session is at the store at a time, so that its
// commits and removals happen in the order in which they came. A change that is accepted, or whose caller has
// left, leaves its queue only into the store or into a report.
//
// The first block is set by init; its fields guard themselves. mu guards the rest: a queue is in the map while
// anything of it waits or is at the store. storeClosed is closed under it.
type queues struct {
	carrier *carrier
	journal *journal.Journal // nil for none
	reports *reports

	storeClosed chan struct{} // closed when the store has said that it will take nothing more

	mu       sync.Mutex
	sessions map[string]*sessionQueue
	schedule schedule
	bounds   bounds
	caches   caches // above
	draining bool   // callers of new changes wait for the store
}

func (l *queues) init(circuits *circuit.Store, o Options) {
	l.sessions = map[string]*sessionQueue{}
	l.storeClosed = make(chan struct{})
	s := &l.schedule
	s.init(&l.mu)
	s.circuit, s.fly, s.carry, s.together = circuits.Writes, l.fly, l.carry, 1
	switch {
	case l.carrier.batcher != nil:
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
	l.journal, l.reports.journal = j, j
	l.mu.Lock()
	defer l.mu.Unlock()
	for range damaged {
		l.reports.gaveUp(GiveUp{Changes: 1, Cause: errDamaged})
	}
	for _, f := range found {
		var old record
		if err := json.Unmarshal(f.Content, &old); err != nil || len(old.Changes) == 0 {
			lost := GiveUp{Changes: old.Lost, Cause: errBefore}
			if lost.Changes == 0 {
				lost = GiveUp{Changes: 1, Cause: errDamaged}
			}
			l.reports.gaveUp(lost)
			j.Drop(&f.Entry)
			continue
		}
		k := l.queue(string(old.ID), "")
		differs := k.entry != 0 // two records of one session become one
		k.old, k.entry = k.entry, f.Entry
		for _, c := range old.Changes {
			if w, deadline, err := c.write(k.id); err != nil {
				l.reports.gaveUp(GiveUp{Changes: c.Calls, Cause: err})
				differs = true
			} else {
				k.ttl, k.deadline = w.ttl, deadline
				l.enqueue(k, w)
			}
		}
		if differs {
			keep(j, k)
		}
		l.arrange(k)
	}
	return nil
}

// add puts a change into its session's queue, as a write of its own or in the one that is returned.
// shown is what the session's readers see from then on, if that is known, and synced is how the change comes into
// the journal, nil without one. A change that came to be pending is awaited once the queues
// are being closed. If there is no write, the caller carries the change out.
//
// A removal annuls the writes that wait, and is the next.
func (l *queues) add(ctx context.Context, c change) (w *write, shown *tiers.Snapshot, synced *journal.Transaction, err error) {
	node := l.carrier.shard(c.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enter(c); err != nil {
		return nil, nil, nil, err
	}
	switch left := l.sessions[c.id] != nil; {
	case l.schedule.closed && left:
		return nil, nil, nil, errLeft
	case l.draining && !left:
		return nil, nil, nil, nil
	}
	k := l.queue(c.id, node)
	// Only the store knows whether a session is still there that another request may have emptied.
	c.id, c.pending = k.id, c.pending && !l.draining && (c.delta.Creates() || !l.mayBeEmpty(k.id))
	if c.delta == nil {
		removal := writeOf(ctx, c)
		if w = k.annul(removal); w == removal {
			l.bounds.add(k, w)
		}
		l.arrange(k)
		return w, nil, nil, nil
	}
	l.carrier.tally.Add(telemetry.Changes)
	first := k.newest() == nil
	if w = k.last(); w != nil && w.merge(ctx, c) {
		l.bounds.grow(w, 1)
	} else {
		w = writeOf(ctx, c)
		// A write that goes at once is on its way before its record is on disk, so that the record
		// says so from the first.
		w.sent = c.delay == 0 && first && l.schedule.node(k.node).stands()
		l.enqueue(k, w)
	}
	if !w.pending {
		l.hasten(k, true)
		return w, nil, nil, nil
	}
	k.ttl, k.deadline = c.ttl, time.Now().Add(c.ttl)
	shown = k.accepted(c.delta, first)
	l.caches.shown(c.id, c.ttl, shown)
	synced = keep(l.journal, k)
	if c.delay == 0 { // with what waits before it
		l.hasten(k, false)
	} else {
		l.schedule.arrange(k)
	}
	if l.bounds.near() {
		l.schedule.rush()
	}
	return w, shown, synced, nil
}

var errFull = tiers.NewError("strata: too many changes of sessions wait for the store; nothing of this one was written", nil)

// enter waits until there is room for a change, one that is awaited for the write timeout at
// most, and whatever becomes of the caller, as the change must not get lost. It gives mu up
// meanwhile. Removals don't wait, and have a bound of their own.
func (l *queues) enter(c change) error {
	b := &l.bounds
	if c.delta == nil {
		if b.removals >= b.maxSessions && !l.draining {
			return errFull
		}
		return nil
	}
	size := c.size()
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
		timer := time.NewTimer(l.carrier.timeout.get())
		defer timer.Stop()
		over = timer.C
	}
	if !b.wait(&l.mu, fits, over) {
		return errFull
	}
	return nil
}

func (l *queues) queue(id, node string) *sessionQueue {
	k := l.sessions[id]
	if k == nil {
		k = &sessionQueue{id: strings.Clone(id)} // it may be a part of a header
		k.waiting = k.room[:0]
		l.sessions[k.id] = k
	}
	if k.in == nil {
		k.node = node
	}
	return k
}

func (l *queues) enqueue(k *sessionQueue, w *write) {
	k.waiting = append(k.waiting, w)
	l.bounds.add(k, w)
}

// hasten makes all writes in the queue due. One that a caller waits for is also sent while the store is away.
func (l *queues) hasten(k *sessionQueue, awaited bool) {
	for _, w := range k.waiting {
		w.at = time.Time{}
	}
	k.urgent = k.urgent || awaited
	l.arrange(k)
}

// arrange has the queue's first write go when it is due, and drops an empty queue. One stays of which the closed
// journal has a write, although that has reached the store since: the next process delivers it again.
func (l *queues) arrange(k *sessionQueue) {
	if l.schedule.arrange(k); k.newest() == nil && !(l.schedule.closed && k.entry != 0) {
		delete(l.sessions, k.id)
	}
}

// fly takes the queue's first write. It is noted on disk that a change which may begin its session goes to the
// store: it isn't begun again by another process, as it may have been removed meanwhile. The attempt waits for that.
func (l *queues) fly(k *sessionQueue) *write {
	w := k.take()
	if l.journal != nil && w.pending && !w.sent && w.delta.Begins() {
		w.sent = true
		w.marked = keep(l.journal, k)
	}
	if w.pending {
		w.ttl, w.expires = k.ttl, l.expires(k)
		if !w.delta.IsConditional() {
			w.first = w.expires
		}
	}
	w.tokens = l.caches.begin(k.id)
	return w
}

// expires is what a pending write sets: the ttl and the part that a slide adds, counted from the last request (law 8).
func (l *queues) expires(k *sessionQueue) time.Time {
	return k.deadline.Add(l.carrier.slides.longer(k.ttl) - k.ttl)
}

// carry brings those writes to the store that are in the journal as they have to be. A slide that follows one is waited
// for by its own session alone.
func (l *queues) carry(writes []*write, probe time.Duration) {
	began := time.Now()
	defer func() { l.settle(writes, began) }() // also if the store ends the goroutine
	l.carrier.carry(marked(writes, l.carrier.timeout.get()), probe)
	late, others := l.overtaken(writes)
	if len(late) > 0 {
		l.settle(others, began)
		writes = late
	}
	for len(late) > 0 {
		late, _ = l.overtaken(l.carrier.prolong(late))
	}
}

// overtaken returns the writes that have set an expiry which ends a session early that a request has used meanwhile: the
// store may have done its slide before.
func (l *queues) overtaken(writes []*write) (late, others []*write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range writes {
		if l.isOvertaken(w) {
			late = append(late, w)
		} else {
			others = append(others, w)
		}
	}
	return late, others
}

func (l *queues) isOvertaken(w *write) bool {
	k := l.sessions[w.id]
	if !w.pending || w.err != nil || k.removal() != nil {
		return false
	}
	expires := l.expires(k)
	set, wanted := w.expires, k.deadline
	if w.snapshot == nil && w.delta.IsConditional() { // nothing was left to write
		set, wanted = w.first, expires
	}
	if !wanted.After(set) {
		return false
	}
	if w.first = expires; expires.After(w.expires) {
		w.expires = expires
	}
	return true
}

func (l *queues) settle(writes []*write, began time.Time) {
	nodes := make([]string, len(writes))
	for n, w := range writes {
		if w.err != nil {
			nodes[n] = l.carrier.shard(w.id) // the session may have moved, or its node is known only now
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, w := range writes {
		l.land(w, nodes[n], began)
	}
}

// land ends a write that was at the store, or has it wait for its next attempt.
func (l *queues) land(w *write, node string, began time.Time) {
	k := l.sessions[w.id]
	if k.flying = nil; w.err != nil {
		k.node = node
	}
	if w.snapshot != nil {
		w.snapshot = w.snapshot.ReadAt(began).AsPublished()
	}
	if !w.pending || w.err == nil || !l.again(k, w) {
		if w.err != nil {
			l.reports.gaveUp(lossOf(w.err, append(w.annulled, w)...))
		}
		l.end(k, w)
	}
	keep(l.journal, k)
	l.arrange(k)
}

// again has a pending write whose attempt has failed wait for the next one, which is conditional if this one may
// have reached the store. If the session is to be removed, the write ends with that. It returns false if the write is
// to be given up.
func (l *queues) again(k *sessionQueue, w *write) bool {
	if errors.Is(w.err, tiers.ErrClosed) {
		select {
		case <-l.storeClosed:
		default:
			close(l.storeClosed)
		}
	}
	refused := errors.Is(w.err, circuit.ErrOpen) // without an attempt
	again := refused || !failure.IsFinal(w.err) && w.again(k.deadline)
	switch removal := k.removal(); {
	case removal != nil:
		l.caches.end(k.id, w.tokens)
		removal.annulled = append(removal.annulled, w)
		return true
	case l.schedule.closed && l.journal != nil: // the next process tries again
	case l.schedule.closed, !again:
		return false
	case !refused:
		l.carrier.tally.Add(telemetry.Retries)
		l.reports.trouble(w.err, l.bounds.changes, l.bounds.bytes)
	}
	l.caches.end(k.id, w.tokens)
	if tiers.MayBeApplied(w.err) {
		w.delta = w.delta.Conditional(w.delta.Base())
	} else if w.delta.Begins() {
		w.sent = false
	}
	w.tokens, w.outcome = nil, outcome{}
	k.back(w)
	return true
}

// end ends a write with its outcome. Writes that it has annulled get ErrRevoked, or the removal's error if it
// failed.
func (l *queues) end(k *sessionQueue, w *write) {
	l.caches.became(k.id, w.ttl, w.tokens, k.landed(w))
	l.annul(k, w, cmp.Or(w.err, error(tiers.ErrRevoked)))
	l.finish(k, w)
}

// annul ends what a removal has annulled. The session's record is dropped, and not rewritten without that, as a full disk
// takes only drops: what came after the removal gets a record of its own. After a removal that never was at the store the
// record is rewritten, as it may have a change that is there, or came later. keep is called next.
func (l *queues) annul(k *sessionQueue, removal *write, err error) {
	if removal.delta == nil && (removal == k.flying || removal.err != error(errClosed)) {
		k.old, k.entry = k.entry, 0
	}
	for _, annulled := range removal.annulled {
		annulled.outcome = outcome{err: err}
		l.finish(k, annulled)
	}
	removal.annulled = nil
}

func (l *queues) finish(k *sessionQueue, w *write) {
	l.bounds.release(k, w)
	if close(w.done); w.err != nil && !w.pending && w.left.Load() {
		l.reports.unheard(w.err)
	}
}

// pending counts the changes that aren't in the store yet, and returns how long the oldest has waited.
func (l *queues) pending() (changes int, bytes int64, oldest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, w := range l.waiting() {
		if w.delta != nil {
			oldest = max(oldest, now.Sub(w.since))
		}
	}
	return l.bounds.changes, l.bounds.bytes, oldest
}

// waiting lists the writes that aren't in the store.
func (l *queues) waiting() (writes []*write) {
	for _, k := range l.sessions {
		k.each(func(w *write) { writes = append(append(writes, w), w.annulled...) })
	}
	return writes
}

// recorded waits until the journal has what has become of the queues by now, and nothing else.
func (l *queues) recorded(ctx context.Context) (put, drop error) {
	if l.journal == nil {
		return nil, nil
	}
	l.mu.Lock()
	next := l.journal.Next()
	l.mu.Unlock()
	return next.Wait(ctx)
}

// flush makes all that waits due, and waits for it, until the queues are closed.
func (l *queues) flush(ctx context.Context) error {
	l.mu.Lock()
	for _, k := range l.sessions {
		l.hasten(k, false)
	}
	writes := l.waiting()
	l.mu.Unlock()
	for _, w := range writes {
		select {
		case <-w.done:
			continue
		case <-ctx.Done():
		case <-l.carrier.ended.Done(): // what the journal keeps doesn't end
		case <-l.storeClosed: // nor what the store will never take
			return l.undelivered(tiers.ErrClosed)
		}
		if err := l.undelivered(cmp.Or(ctx.Err(), error(errClosed))); err != nil {
			return err
		}
	}
	err, _ := l.recorded(ctx)
	return err
}

// undelivered is nil if nothing waits.
func (l *queues) undelivered(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.bounds.changes + l.bounds.removals
	if calls == 0 {
		return nil
	}
	text := fmt.Sprintf("strata: %d changes of sessions are not in the store yet", calls)
	if why == error(tiers.ErrClosed) {
		text += ", whose client is closed; close the chain first"
	}
	return tiers.NewError(text, why)
}

var (
	errCallback = tiers.NewError("strata: Close was called by OnGiveUp, for which it would have to wait; call it from another goroutine", nil)
	errClosed   = tiers.NewError("strata: the chain was closed before the store took the write", nil)
	errLeft     = tiers.NewError("strata: the chain was closed before the store took all writes of this session; nothing was done: call the next chain, once that has delivered them", nil)
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
		if err != nil || len(l.sessions) == 0 || l.schedule.closed {
			break
		}
		l.mu.Unlock() // later changes of sessions that were being written
	}
	l.schedule.close()
	kept := l.abandon()
	l.mu.Unlock()
	l.carrier.slides.close()
	l.carrier.end()
	if kept > 0 {
		l.reports.warn("stay", "strata: the store didn't take all changes of sessions before the chain was closed; they wait in the journal",
			slog.Int("changes", kept))
	}
	idle := start(func() error {
		l.schedule.crew.Wait()
		gone()
		return nil
	})
	late, cancel := afterwards(ctx)
	defer cancel()
	if err == nil { // nothing waits any more: the workers are on their way out
		_ = await(late, idle)
	}
	l.reports.close(late)
	if l.journal != nil {
		err = errors.Join(err, await(late, start(l.journal.Close)))
	}
	return err
}

// afterwards is a context that ends a tenth of a second after ctx: for what Close does without the store.
func afterwards(ctx context.Context) (late context.Context, cancel func()) {
	late, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(100*time.Millisecond, func() { end(ctx.Err()) })
	})
	return late, func() { stop(); end(nil) }
}

func start(do func() error) (done <-chan error) {
	c := make(chan error, 1)
	go func() { c <- do() }()
	return c
}

func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// abandon ends what waits in the queues, as it won't be carried out. With a journal pending writes stay, except
// those that a removal has annulled, also one that is at the store: it may succeed when the journal is closed.
// It counts the changes that stay.
func (l *queues) abandon() (kept int) {
	var ends, lost []*write
	stays := func(w *write) bool { return w.pending && l.journal != nil }
	for _, k := range l.sessions {
		k.each(func(w *write) {
			lost = append(lost, w.annulled...)
			switch {
			case stays(w):
				kept += w.calls
			case w != k.flying:
				w.err = errClosed
				ends, lost = append(ends, w), append(lost, w)
			}
		})
		k.waiting = slices.DeleteFunc(k.waiting, func(w *write) bool { return !stays(w) })
	}
	l.reports.gaveUp(lossOf(errClosed, lost...))
	for _, w := range ends {
		k := l.sessions[w.id]
		l.end(k, w)
		keep(l.journal, k)
	}
	for _, k := range l.sessions {
		if w := k.flying; w != nil && len(w.annulled) > 0 {
			l.annul(k, w, errClosed)
			keep(l.journal, k)
		}
		l.arrange(k)
	}
	return kept
}

// join waits for a write that was accepted, and goes on if its caller can't wait any longer.
func (l *queues) join(ctx context.Context, w *write) (*tiers.Snapshot, error) {
	l.inspect(w.id, func(k *sessionQueue) { l.hasten(k, true) })
	return w.wait(ctx, l.carrier.timeout.get())
}

// inspect has the session's queue looked at, if it has one.
func (l *queues) inspect(id string, look func(k *sessionQueue)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.sessions[id]; k != nil {
		look(k)
	}
}

// extend has what is pending of the session keep it alive for as long as a slide would.
func (l *queues) extend(id string, ttl time.Duration) (holds bool) {
	l.inspect(id, func(k *sessionQueue) {
		if l.schedule.closed || ttl <= 0 { // and the journal with it
			return
		}
		var extended bool
		if holds, extended = k.extend(ttl, l.carrier.slides.longer(ttl)-ttl); extended {
			keep(l.journal, k)
		}
	})
	return holds
}

func (l *queues) emptied(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mayBeEmpty(id)
}

// mayBeEmpty reports whether the last change of the session that is known here has set no key: by the rules of
// Apply the session may be gone. It is called under mu.
func (l *queues) mayBeEmpty(id string) bool {
	e, _ := l.carrier.slides.get(id)
	found := e.emptied
	if k := l.sessions[id]; k != nil {
		k.each(func(w *write) { found = found || w.empties() })
	}
	return found
}
