package coalesce

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

const (
	pipelines    = 4   // batches that are at a batching store at once
	pipelineSize = 128 // commits in one of them, at most
)

// lanes hold what waits for each session. One batch of a session is at the store at a
// time, so that its commits and removals happen in the order in which they came.
//
// store, batcher and timeout are set by init. mu guards the rest: a lane is in the
// map while anything of it waits or is at the store; running grows only under mu
// while closed is unset.
type lanes struct {
	store   tiers.Storage
	batcher tiers.Batcher // nil where the store takes no batches
	timeout time.Duration

	mu      sync.Mutex
	lanes   map[string]*lane
	due     []*lane // batching stores: lanes whose first batch may go
	workers int
	closed  bool
	running sync.WaitGroup
}

// lane is what waits for one session, oldest first, and what is at the store.
type lane struct {
	id      string
	moving  bool // somebody sees to it that the first batch goes
	flying  *batch
	waiting []*batch
}

func (l *lanes) init(store tiers.Storage, timeout time.Duration) {
	l.store, l.timeout = store, timeout
	l.batcher, _ = store.(tiers.Batcher)
	l.lanes = map[string]*lane{}
}

// commit adds a change to its lane and waits for its batch.
func (l *lanes) commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.store.Commit(ctx, id, delta, ttl)
	}
	k := l.lane(id)
	var b *batch
	if last := len(k.waiting) - 1; last >= 0 && k.waiting[last].join(delta, ttl) {
		b = k.waiting[last]
	} else {
		b = l.enqueue(ctx, k, &batch{delta: delta, ttl: ttl})
	}
	l.mu.Unlock()
	return b.wait(ctx, l.timeout)
}

// remove annuls what waits in the lane, and removes the session next.
func (l *lanes) remove(ctx context.Context, id string) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.store.RemoveAll(ctx, id)
	}
	k := l.lane(id)
	var b *batch
	for _, w := range k.waiting {
		if w.delta == nil {
			b = w // another removal that waits does for both
		} else {
			w.end(nil, tiers.ErrRevoked)
		}
	}
	if k.waiting = nil; b != nil {
		k.waiting = []*batch{b}
	} else {
		b = l.enqueue(ctx, k, &batch{})
	}
	l.mu.Unlock()
	_, err := b.wait(ctx, l.timeout)
	return err
}

// lane is called under mu, as enqueue and next are.
func (l *lanes) lane(id string) *lane {
	k := l.lanes[id]
	if k == nil {
		k = &lane{id: id}
		l.lanes[id] = k
	}
	return k
}

func (l *lanes) enqueue(ctx context.Context, k *lane, b *batch) *batch {
	b.id, b.ctx, b.done, b.changes = k.id, context.WithoutCancel(ctx), make(chan struct{}), 1
	k.waiting = append(k.waiting, b)
	if !k.moving {
		k.moving = true
		l.start(k)
	}
	return b
}

// start lets the lane's first batch go as soon as the store can take it.
func (l *lanes) start(k *lane) {
	if l.batcher == nil {
		l.running.Add(1)
		go l.drive(k)
		return
	}
	l.due = append(l.due, k)
	if l.workers < pipelines {
		l.workers++
		l.running.Add(1)
		go l.work()
	}
}

// drive carries a lane's batches out, one after the other, until none waits.
func (l *lanes) drive(k *lane) {
	defer l.running.Done()
	for b := l.take(k); b != nil; b = l.take(k) {
		b.run(l.store, l.timeout)
	}
}

// take puts the lane's next batch in flight, or gives the lane up.
func (l *lanes) take(k *lane) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next(k)
}

func (l *lanes) next(k *lane) *batch {
	if len(k.waiting) == 0 {
		k.flying = nil
		delete(l.lanes, k.id)
		return nil
	}
	k.flying, k.waiting = k.waiting[0], k.waiting[1:]
	return k.flying
}

// pending counts the changes that aren't in the store, and lists their batches.
func (l *lanes) pending() (batches []*batch, changes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// settle waits for writes of the session that a caller has left: it was told that they
// may yet be applied, and what is read from now on must not be older than they are.
func (l *lanes) settle(ctx context.Context, id string) error {
	var left []*batch
	l.mu.Lock()
	if k := l.lanes[id]; k != nil {
		if k.flying != nil && k.flying.left.Load() {
			left = append(left, k.flying)
		}
		for _, b := range k.waiting {
			if b.left.Load() {
				left = append(left, b)
			}
		}
	}
	l.mu.Unlock()
	if len(left) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	for _, b := range left {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (l *lanes) flush(ctx context.Context) error {
	batches, _ := l.pending()
	for _, b := range batches {
		select {
		case <-b.done:
		case <-ctx.Done():
			_, changes := l.pending()
			return tiers.NewError(fmt.Sprintf("strata: %d changes of sessions are not in the store yet", changes), ctx.Err())
		}
	}
	return nil
}

func (l *lanes) close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if err := l.flush(ctx); err != nil {
		return err
	}
	l.running.Wait() // nothing waits any more: they are on their way out
	return nil
}
