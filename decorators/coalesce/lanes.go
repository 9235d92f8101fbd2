package coalesce

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/journal"
)

// lanes hold what waits for each session. One batch of a session is at the store at a
// time, so that its commits and removals happen in the order in which they came.
//
// The first block is set by init, and crew guards itself. mu guards the rest: a lane is in
// the map while anything of it waits or is at the store; a worker begins only under mu while
// closed is unset, or as another one ends.
type lanes struct {
	store      tiers.Storage
	batcher    tiers.Batcher // nil where the store takes no batches
	timeout    time.Duration
	most       int           // workers at once, 0 for one a lane
	early      time.Duration // how much before its time a commit may go, with another
	maxLanes   int           // with changes that nobody waits for
	maxBytes   int64
	journal    *journal.Journal // nil for none
	caches     *caches          // above, that are told
	tally      *telemetry.Tally
	slideEvery float64
	crew       crew.Crew
	landed     func(b *batch, began time.Time) // a commit is in the store
	gaveUp     func(lost GiveUp)               // changes that were accepted aren't in the store
	stay       func(changes int)               // they wait in the journal
	unheard    func(err error)                 // a write failed that its caller hasn't waited for

	mu          sync.Mutex
	lanes       map[string]*lane
	due         []*lane
	later       schedule
	alarm       *time.Timer
	workers     int
	accepted    list.List // of *hold, the oldest first
	heldLanes   int
	heldChanges int
	heldBytes   int64
	crowd       int           // callers that wait for room
	room        chan struct{} // closed when there may be some
	draining    bool          // nothing is accepted any more that nobody waits for
	closed      bool
	gone        func()          // called by the last worker once closed
	ended       context.Context // the lanes' life
	end         context.CancelFunc
}

// lane is what waits for one session, oldest first, and what is at the store.
type lane struct {
	id        string
	queued    bool      // it is among those that are due
	scheduled time.Time // or has an appointment
	flying    *batch
	waiting   []*batch
	held      int             // batches that nobody waits for
	shown     *tiers.Snapshot // with all of them, where that is known
}

func (l *lanes) init(store tiers.Storage, o options) {
	l.store, l.timeout, l.slideEvery = store, o.writeTimeout, o.slideEvery
	l.maxLanes, l.maxBytes = o.maxPending, o.maxBytes
	l.batcher = tiers.BatcherOf(store)
	switch {
	case l.batcher != nil:
		l.most, l.early = pipelines, min(o.interval/8, mostEarly)
	case o.interval > 0:
		l.most = writers
	}
	l.lanes = map[string]*lane{}
	l.room = make(chan struct{})
	l.ended, l.end = context.WithCancel(context.Background())
}

// commit adds a change to its lane and waits for its batch.
func (l *lanes) commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	l.mu.Lock()
	if l.passed(id) {
		l.mu.Unlock()
		return write(ctx, l.store, id, delta, ttl)
	}
	k := l.lane(id)
	b := k.last()
	if b == nil || b.hold != nil || !b.join(ctx, delta, ttl) {
		b = &batch{delta: delta, ttl: ttl}
		l.enqueue(ctx, k, b)
	}
	l.hasten(k)
	l.mu.Unlock()
	l.tally.Add(telemetry.Changes)
	return b.wait(ctx, l.timeout)
}

// remove annuls what waits in the lane, and removes the session next.
func (l *lanes) remove(ctx context.Context, id string) error {
	l.mu.Lock()
	if l.passed(id) {
		l.mu.Unlock()
		return l.store.RemoveAll(ctx, id)
	}
	k, waiting := l.lane(id), []*batch(nil)
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
			b.annul(w)
			l.finish(k, w, nil, tiers.ErrRevoked)
		}
	}
	l.arrange(k)
	l.mu.Unlock()
	if _, err := b.wait(ctx, l.timeout); err != nil {
		return err
	}
	return l.synced(ctx)
}

// passed reports whether a call goes past the lanes, as they are being closed. It is
// called under mu, as all up to finish is.
func (l *lanes) passed(id string) bool {
	return l.closed || l.draining && l.lanes[id] == nil
}

func (l *lanes) lane(id string) *lane {
	k := l.lanes[id]
	if k == nil {
		k = &lane{id: strings.Clone(id)} // it may be a part of a header
		l.lanes[k.id] = k
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
}

// last is the batch that a change may join.
func (k *lane) last() *batch {
	if len(k.waiting) == 0 {
		return nil
	}
	return k.waiting[len(k.waiting)-1]
}

// removing reports whether the session's removal waits.
func (k *lane) removing() bool { return len(k.waiting) > 0 && k.waiting[0].delta == nil }

// finish tells everybody who waits for a batch of the lane.
func (l *lanes) finish(k *lane, b *batch, snapshot *tiers.Snapshot, err error) {
	if b.hold != nil {
		l.release(k, b)
	}
	b.snapshot, b.err = snapshot, err
	close(b.done)
}

// pending counts the changes that aren't in the store, and lists their batches.
func (l *lanes) pending() (batches []*batch, changes int) {
	for _, k := range l.lanes {
		if k.flying != nil {
			batches = append(batches, k.flying)
		}
		batches = append(batches, k.waiting...)
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
		l.hasten(k)
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

// close flushes, and ends what is still under way when ctx does. What is then neither in the
// store nor given up stays in the journal, and is given up where there is none. gone is
// called when nothing is given up any more.
func (l *lanes) close(ctx context.Context, gone func()) error {
	l.mu.Lock()
	l.draining = true
	l.admit()
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
	if l.alarm != nil {
		l.alarm.Stop()
	}
	l.crew.Close()
	lost := l.abandon()
	if l.gone = gone; l.workers > 0 {
		gone = func() {} // the last worker does
	}
	kept := l.heldChanges
	l.mu.Unlock()
	l.end()
	if lost.Changes > 0 {
		l.gaveUp(lost)
	}
	if l.journal != nil && kept > 0 && !again {
		l.stay(kept)
	}
	gone()
	if err == nil {
		l.crew.Wait() // nothing waits any more: they are on their way out
	}
	if l.journal != nil {
		err = errors.Join(err, l.journal.Close())
	}
	return err
}

// over reports whether the lanes were closed.
func (l *lanes) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// abandon ends what waits in the lanes, as nobody will carry it out, and answers what is
// lost of what was accepted. What a journal holds stays.
func (l *lanes) abandon() (lost GiveUp) {
	for _, k := range l.lanes {
		var stays []*batch
		for _, b := range k.waiting {
			switch {
			case b.hold == nil:
				lost.join(b.annuls)
			case l.journal != nil:
				stays = append(stays, b)
				continue
			case !b.hold.claimed:
				lost.add(b)
			}
			l.finish(k, b, nil, errClosed)
		}
		k.waiting = stays
		l.arrange(k)
	}
	lost.Cause = errClosed
	return lost
}

var errClosed = tiers.NewError("strata: the chain was closed before the store took the write", nil)
