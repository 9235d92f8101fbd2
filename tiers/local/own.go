package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// ownWrites keep a node's own writes in memory although the store notifies of them as well.
// An invalidation doesn't say which write it is about, or how many.
//
// If an invalidation comes right after a write, the state is read again in the background. It is
// served meanwhile, for rereadWithin at most, and no longer than the sources vouched when the
// invalidation came. So a write of another node may be seen some milliseconds later, and within
// the lease. Later invalidations, and more than a few of them, invalidate the state.
//
// mu guards the fields below it; the others are set at construction. One goroutine reads the
// states that wait, as long as there are any.
type ownWrites struct {
	order    *order
	inner    tiers.Storage
	reloader tiers.Reloader // nil: one by one

	mu      sync.Mutex
	queue   []*ownWrite // to be read again
	running bool
	closed  bool
	done    sync.WaitGroup
	life    context.Context
	cancel  context.CancelFunc
}

// ownWrite counts the invalidations that may be about the write that made an entry. wrote, a
// moment on the tier's clock, and ttl never change; until is atomic, and is written under
// ownWrites.mu, which guards the rest.
type ownWrite struct {
	wrote int64
	ttl   time.Duration
	until atomic.Int64 // served before this until it is read again; 0: there was no invalidation

	times int    // invalidations
	next  *entry // waits to be read again
}

const (
	// maxRereads bounds the sessions that wait to be read again; more are invalidated.
	maxRereads = 4096

	// rereadBatch and rereadBytes bound those that are read together.
	rereadBatch = 1024
	rereadBytes = 1 << 20

	// rereadWithin is how long a state is served after an invalidation and before it
	// has been read again.
	rereadWithin = 100 * time.Millisecond

	// rereadPause is the least pause between two such reads. A read for each write would wake four
	// goroutines beside the one that waits for the write.
	rereadPause = 2 * time.Millisecond

	// rereadTimeout bounds that read.
	rereadTimeout = time.Second

	// An invalidation counts as one of an own write within notifiedWithin of it, and notifiedTimes at most: that
	// of the write before may come late, and each layer below may write once more.
	notifiedWithin = time.Second
	notifiedTimes  = 3
)

// of makes the ownWrite of a write that ends now.
func (w *ownWrites) of(ttl time.Duration) *ownWrite {
	return &ownWrite{wrote: w.order.memory.now(), ttl: ttl}
}

// trusted reports whether a state may be served, as far as invalidations after its write go.
func (o *ownWrite) trusted(now int64) bool {
	if o == nil {
		return true
	}
	until := o.until.Load()
	return until == 0 || now < until
}

func (w *ownWrites) init() {
	w.reloader = tiers.ReloaderOf(w.inner)
	w.life, w.cancel = context.WithCancel(context.Background())
}

// deadline returns the moment until which a state is served if its invalidation comes now.
func (w *ownWrites) deadline() int64 {
	m := w.order.memory
	until := m.now() + int64(rereadWithin)
	if m.watch.watched.Load() {
		until = min(until, m.watch.until.Load())
	}
	return max(until, 1)
}

// notified receives an invalidation for the current entry, which may be nil. If it returns false, the caller
// must invalidate the session. delay is the time since the write if this is its first invalidation, else
// negative.
func (w *ownWrites) notified(e *entry, deadline int64) (taken bool, delay time.Duration) {
	if e == nil || e.own == nil || e.snapshot == nil {
		return false, -1
	}
	after := w.order.memory.now() - e.own.wrote
	if after >= int64(notifiedWithin) {
		return false, -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.own.times++
	if delay = -1; e.own.times == 1 {
		delay = time.Duration(after)
	}
	return e.own.times <= notifiedTimes && w.again(e, deadline), delay
}

// again has an entry read again, and reports whether there is room. It is called under mu.
func (w *ownWrites) again(e *entry, deadline int64) bool {
	own := e.own
	if own.next == nil {
		if w.closed || len(w.queue) >= maxRereads {
			return false
		}
		w.queue = append(w.queue, own)
		own.until.CompareAndSwap(0, deadline)
	}
	own.next = e
	if !w.running {
		w.running = true
		w.done.Add(1)
		go w.run()
	}
	return true
}

// later has an entry whose turn has come wait for another one, and reports whether there is room.
func (w *ownWrites) later(e *entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.again(e, e.own.until.Load())
}

// settle notes that a state was read again. If another invalidation came during the read, the state waits for the
// next one.
func (w *ownWrites) settle(own *ownWrite) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if own.next == nil {
		own.until.Store(0)
	}
}

// run reads batches until none waits. Unless a batch was large, it pauses for as long as the read took, and
// rereadPause at least, so that the states that come meanwhile are read together.
func (w *ownWrites) run() {
	defer w.done.Done()
	for waiting := w.next(); len(waiting) > 0; waiting = w.next() {
		began := time.Now()
		var batch []rereading
		for _, e := range waiting {
			if r, ok := w.order.reread(e); ok {
				batch = append(batch, r)
			}
		}
		w.reread(batch)
		if len(batch) >= rereadBatch/8 {
			continue
		}
		pause := time.NewTimer(min(max(time.Since(began), rereadPause), rereadWithin/4))
		select {
		case <-pause.C:
		case <-w.life.Done():
			pause.Stop()
		}
	}
}

// next takes a batch of the entries that wait. If there is none, the goroutine ends.
func (w *ownWrites) next() (batch []*entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for bytes := int64(0); len(w.queue) > 0 && len(batch) < rereadBatch && bytes < rereadBytes; {
		own := w.queue[0]
		w.queue[0], w.queue = nil, w.queue[1:]
		batch = append(batch, own.next)
		bytes += own.next.snapshot.Size()
		own.next = nil
	}
	if len(batch) == 0 {
		w.running, w.queue = false, nil
	}
	return batch
}

// rereading is a read in the background.
type rereading struct {
	entry *entry
	call  call
}

// reread reads a batch and ends its calls. A state that can't be read is invalidated.
func (w *ownWrites) reread(batch []rereading) (failed int) {
	if len(batch) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(w.life, rereadTimeout)
	defer cancel()
	began := w.order.memory.now()
	w.order.tally.AddN(telemetry.Loads, len(batch))
	results := make([]tiers.Reloaded, len(batch))
	for n := range results {
		results[n].Err = errAborted
	}
	defer func() {
		_ = recover() // a caller of Load that asks for the session gets the store's panic
		for n, r := range batch {
			if results[n].Err != nil {
				failed++
			}
			w.ended(r, results[n], began)
		}
	}()
	if loaded := w.load(ctx, batch, results); len(loaded) == len(batch) {
		results = loaded
	}
	return 0
}

func (w *ownWrites) ended(r rereading, result tiers.Reloaded, began int64) {
	switch e := r.entry; {
	case result.Err != nil:
		w.order.spoil(r.call, e)
	case w.order.loaded(r.call, e.id, result.Read, began, false):
		w.settle(e.own)
	default:
		w.order.unread(e)
	}
}

// waits reports whether the state that a write has made is still to be read again.
func (w *ownWrites) waits(own *ownWrite) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return own.next != nil
}

func (w *ownWrites) load(ctx context.Context, batch []rereading, results []tiers.Reloaded) []tiers.Reloaded {
	if w.reloader != nil {
		loads := make([]tiers.Reload, len(batch))
		for n, r := range batch {
			loads[n] = tiers.Reload{ID: r.entry.id, TTL: r.entry.own.ttl, Known: r.entry.snapshot}
		}
		return w.reloader.LoadAll(ctx, loads)
	}
	for n, r := range batch {
		results[n].Read, results[n].Err = w.inner.Load(ctx, r.entry.id, r.entry.own.ttl)
	}
	return results
}

// close ends the read that is under way, and waits for the goroutine.
func (w *ownWrites) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.done.Wait()
}
