package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// echoes keep a node's own writes in memory although the store announces them as well,
// and nothing in an announcement says whose write it is about, or how many.
//
// An announcement that comes while a write is under way outdates what is cached, as
// any does; the write's own state is kept nevertheless when it ends, unless readers have
// seen another one since, which may be newer (see seen). The announcements right after a
// write have its state read again in the background, and leave it in place meanwhile, for
// echoPatience at most and no longer than the sources had vouched when they announced it:
// what another node may have written since is then seen some milliseconds later than it
// would have been, and within the lease.
// Later ones, and more than a few, outdate the state.
//
// mu guards all fields but those that are set by init. One goroutine reads again what
// waits by then, while anything does.
type echoes struct {
	s        *Storage
	reloader tiers.Reloader // nil: one by one

	mu      sync.Mutex
	writing map[uint64]*ownWrite
	queue   []*echo // to be read again
	running bool
	closed  bool
	done    sync.WaitGroup
	life    context.Context
	cancel  context.CancelFunc
}

// ownWrite is what is under way for the sessions of one hash.
type ownWrite struct {
	writes int    // under way
	heard  int64  // the patience with the first announcement meanwhile; 0: there was none
	bumps  uint64 // announcements that have outdated the session
	seen   seen   // by readers, of the store
}

// echo is what was heard of the write that made an entry. wrote is a moment on the tier's
// clock and never changes; until is atomic, and is written under echoes.mu, which guards
// the rest.
type echo struct {
	wrote int64
	until atomic.Int64 // served before this while it isn't read again; 0: nothing was heard

	times    int    // announcements
	next     *entry // waits to be read again
	patience int64  // with that: served before this moment
}

const (
	// maxEchoes bounds the sessions that wait to be read again; more are outdated.
	maxEchoes = 4096

	// echoBatch and echoBytes bound those that are read together.
	echoBatch = 1024
	echoBytes = 1 << 20

	// echoPatience is how long a state is served after it was announced and before it
	// has been read again.
	echoPatience = 100 * time.Millisecond

	// echoRest is the least pause between two such reads. One each write would wake four
	// goroutines beside the one that waits for the write.
	echoRest = 2 * time.Millisecond

	// echoTimeout bounds that read.
	echoTimeout = time.Second

	// An own write is announced within echoWindow, if at all. The announcement of the
	// one before it may come late, and each layer below may write once more.
	echoWindow = time.Second
	echoCount  = 3
)

// after is the echo of a write that came after another one's.
func (e *echo) after(wrote int64) *echo {
	next := &echo{wrote: wrote}
	if e != nil { // a slide, of a state that is yet to be read again
		next.until.Store(e.until.Load())
	}
	return next
}

// trusted reports whether a state may be served as far as announcements of its write go.
func (e *echo) trusted(now int64) bool {
	if e == nil {
		return true
	}
	until := e.until.Load()
	return until == 0 || now < until
}

func (e *echoes) init(s *Storage) {
	e.s, e.writing, e.reloader = s, map[uint64]*ownWrite{}, tiers.ReloaderOf(s.inner)
	e.life, e.cancel = context.WithCancel(context.Background())
}

// begin is called before a write. It answers the guard's stamp, and as a token the same
// less the announcements that were heard since the first write that is under way began.
func (e *echoes) begin(hash uint64) (token, stamp uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.writing[hash]
	if w == nil {
		w = &ownWrite{}
		e.writing[hash] = w
	}
	w.writes++
	stamp = e.s.guard.Hold(hash)
	return stamp - w.bumps, stamp
}

// finish is called after it. The entry, if the write has told one, is kept unless
// another change was heard of that isn't an announcement.
func (e *echoes) finish(hash, token uint64, written *entry) {
	e.end(hash, token, func(stamp uint64, w *ownWrite) *entry {
		e.s.tally.AddAt(telemetry.InvalidatedByWrite, hash)
		next, ok := e.s.guard.BumpFrom(hash, stamp)
		if !ok || written == nil || w.seen.other(written.snapshot) {
			return nil
		}
		written.stamp = next
		return written
	})
}

// leave is called after a write whose outcome somebody else sees to.
func (e *echoes) leave(hash uint64) { e.end(hash, 0, func(uint64, *ownWrite) *entry { return nil }) }

// over counts a write off. It is called under mu.
func (e *echoes) over(hash uint64) *ownWrite {
	w := e.writing[hash]
	if w.writes--; w.writes == 0 {
		delete(e.writing, hash)
	}
	return w
}

// end keeps the entry that a write is given for the stamp that the guard shows if only
// announcements were heard since the token. No announcement comes in between: it is
// either counted or finds the entry. The entry is read again once its write is
// announced: now, where it may have been already.
func (e *echoes) end(hash, token uint64, write func(stamp uint64, w *ownWrite) *entry) {
	e.mu.Lock()
	w := e.over(hash)
	written := write(token+w.bumps, w)
	if written != nil {
		written.echo = written.echo.after(e.s.now())
		e.s.keep(hash, written)
	}
	heard := w.heard
	e.mu.Unlock()
	if written != nil && heard != 0 && !e.heard(hash, written.id, heard) {
		e.s.outdate(hash, telemetry.InvalidatedByEcho)
	}
}

// patience is the moment until which a state is served that was announced now.
func (e *echoes) patience() int64 {
	until := e.s.now() + int64(echoPatience)
	if e.s.watch.watched.Load() {
		until = min(until, e.s.watch.until.Load())
	}
	return max(until, 1)
}

// heard takes an announcement. It is false where the caller must outdate the session.
func (e *echoes) heard(hash uint64, id string, patience int64) bool {
	taken, first := e.take(hash, id, patience)
	if first != nil {
		e.s.reporter.Delayed(time.Duration(e.s.now() - first.wrote))
	}
	return taken
}

// take also answers the write that was announced for the first time.
func (e *echoes) take(hash uint64, id string, patience int64) (taken bool, first *echo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.writing[hash]
	if w != nil && w.heard == 0 {
		w.heard = patience
	}
	own := e.s.lookup(hash)
	if own != nil && own.echo != nil && own.snapshot != nil && own.id == id && own.stamp == e.s.guard.Stamp(hash) &&
		e.s.now()-own.echo.wrote < int64(echoWindow) {
		own.echo.times++
		if own.echo.times == 1 {
			first = own.echo
		}
		if own.echo.times <= echoCount && e.again(own, patience) {
			return true, first
		}
	}
	if w != nil {
		w.bumps++
		e.s.guard.Rebump(hash)
		e.s.tally.AddAt(telemetry.InvalidatedByAnnouncement, hash)
		return true, first
	}
	return false, first
}

// again has an entry read again. It is called under mu, as settle is.
func (e *echoes) again(own *entry, patience int64) bool {
	echo := own.echo
	if echo.next == nil {
		if e.closed || len(e.queue) >= maxEchoes {
			return false
		}
		e.queue = append(e.queue, echo)
		echo.patience = patience
		echo.until.CompareAndSwap(0, patience)
	}
	echo.next = own
	if !e.running {
		e.running = true
		e.done.Add(1)
		go e.run()
	}
	return true
}

// settle notes that a state was read again which was announced before the read began.
func (e *echoes) settle(echo *echo) {
	until := int64(0)
	if echo.next != nil { // and once more since
		until = echo.patience
	}
	echo.until.Store(until)
}

// run rests after each read for as long as it took, and echoRest at least, so that what
// comes meanwhile is read together, unless much waits already.
func (e *echoes) run() {
	defer e.done.Done()
	for batch := e.board(); len(batch) > 0; batch = e.board() {
		began := time.Now()
		e.reread(batch)
		if len(batch) >= echoBatch/8 {
			continue
		}
		rest := time.NewTimer(min(max(time.Since(began), echoRest), echoPatience/4))
		select {
		case <-rest.C:
		case <-e.life.Done():
			rest.Stop()
		}
	}
}

// board takes what waits, but for what was outdated meanwhile. Where nothing waits the
// goroutine ends.
func (e *echoes) board() (batch []*entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for bytes := int64(0); len(e.queue) > 0 && len(batch) < echoBatch && bytes < echoBytes; {
		echo := e.queue[0]
		e.queue[0] = nil
		e.queue = e.queue[1:]
		own := echo.next
		echo.next = nil
		hash := e.s.guard.Hash(own.id)
		if kept := e.s.lookup(hash); kept != nil && kept.echo == echo {
			own = kept // with what was changed since
		}
		if own.stamp == e.s.guard.Stamp(hash) {
			batch = append(batch, own)
			bytes += own.snapshot.Size()
		}
	}
	if len(batch) == 0 {
		e.running, e.queue = false, nil
	}
	return batch
}

// reread replaces the entries by what the store holds, but for those of which something
// was heard meanwhile. Where the store doesn't answer they are outdated.
func (e *echoes) reread(batch []*entry) {
	ctx, cancel := context.WithTimeout(e.life, echoTimeout)
	defer cancel()
	began := e.s.now()
	e.s.tally.AddN(telemetry.Loads, len(batch))
	fresh := make([]*entry, len(batch))
	defer func() {
		_ = recover() // the store's panic belongs to those who ask for the session
		for n, own := range batch {
			e.replace(own, fresh[n])
		}
	}()
	for n, r := range e.load(ctx, batch) {
		if own := batch[n]; r.Err == nil && r.Read.Snapshot != nil {
			fresh[n] = &entry{id: own.id, ttl: own.ttl, snapshot: r.Read.Snapshot, stamp: own.stamp, loaded: began, echo: own.echo}
		}
	}
}

func (e *echoes) load(ctx context.Context, batch []*entry) []tiers.Reloaded {
	if e.reloader != nil {
		loads := make([]tiers.Reload, len(batch))
		for n, own := range batch {
			loads[n] = tiers.Reload{ID: own.id, TTL: own.ttl, Known: own.snapshot}
		}
		return e.reloader.LoadAll(ctx, loads)
	}
	results := make([]tiers.Reloaded, len(batch))
	for n, own := range batch {
		results[n].Read, results[n].Err = e.s.inner.Load(ctx, own.id, own.ttl)
	}
	return results
}

// replace puts what was read in the place of an entry that is still current; where
// nothing could be, it outdates it.
func (e *echoes) replace(own, fresh *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hash := e.s.guard.Hash(own.id)
	switch {
	case e.s.guard.Stamp(hash) != own.stamp:
	case fresh == nil:
		e.s.outdate(hash, telemetry.InvalidatedByEcho)
	case own.knows(fresh.snapshot):
		e.settle(own.echo)
	case e.writing[hash] != nil: // which would put back what is older than this, see seen
	case e.s.taken(hash) != nil:
		e.s.keep(hash, fresh)
		e.settle(own.echo)
	default:
		// Of two entries that ristretto hasn't taken yet it keeps the first: that one
		// must be outdated.
		if next, ok := e.s.guard.BumpFrom(hash, own.stamp); ok {
			fresh.stamp = next
			e.s.keep(hash, fresh)
			e.settle(own.echo)
		}
	}
}

// knows reports whether a reading of the session tells nothing that the entry doesn't.
func (e *entry) knows(read *tiers.Snapshot) bool {
	if read.Version() == "" || read.Version() != e.snapshot.Version() {
		return false
	}
	at, known := read.Expires()
	before, knew := e.snapshot.Expires()
	later := at.Sub(before)
	return known == knew && -time.Millisecond <= later && later <= sameExpiry
}

// sameExpiry is how much later a reading of an expiry may be that isn't worth noting. One
// is a millisecond early at most.
const sameExpiry = 10 * time.Millisecond

// close ends what is under way.
func (e *echoes) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.done.Wait()
}
