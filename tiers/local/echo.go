package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/telemetry"
)

// echoes keep a node's own writes in memory although the store announces them as well,
// and nothing in an announcement says whose write it is about, or how many.
//
// An announcement that comes while a write is under way outdates what is cached, as
// any does; the write's own state is kept nevertheless when it ends, as it is no older
// than that. The announcements right after a write have its state read again in the
// background, and leave it in place meanwhile: what another node may have written since
// is then seen one round trip later than it would have been. Later ones, and more than
// a few, outdate the state.
//
// mu guards all fields but those that are set by init. One goroutine reads again, while
// there is something to read.
type echoes struct {
	s *Storage

	mu      sync.Mutex
	writing map[uint64]*ownWrite
	queue   []*entry // to be read again
	running bool
	closed  bool
	done    sync.WaitGroup
	life    context.Context
	cancel  context.CancelFunc
}

// ownWrite is what is under way for the sessions of one hash.
type ownWrite struct {
	writes int    // under way
	heard  bool   // an announcement, meanwhile
	bumps  uint64 // announcements that have outdated the session
}

// echo is what was heard of the write that made an entry. wrote is a moment on the
// tier's clock and never changes; heard counts announcements.
type echo struct {
	wrote int64
	heard atomic.Int32
}

const (
	// maxEchoes bounds the sessions that wait to be read again; more are outdated.
	maxEchoes = 4096

	// echoTimeout bounds how long one is served unread; it is outdated then.
	echoTimeout = time.Second

	// An own write is announced within echoWindow, if at all. The announcement of the
	// one before it may come late, and each layer below may write once more.
	echoWindow = time.Second
	echoCount  = 3
)

func (e *echoes) init(s *Storage) {
	e.s, e.writing = s, map[uint64]*ownWrite{}
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
	stamp = e.s.guard.Stamp(hash)
	return stamp - w.bumps, stamp
}

// finish is called after it. The entry, if the write has told one, is kept unless
// another change was heard of that isn't an announcement.
func (e *echoes) finish(hash, token uint64, written *entry) {
	e.end(hash, token, func(stamp uint64) *entry {
		e.s.tally.AddAt(telemetry.InvalidatedByWrite, hash)
		next, ok := e.s.guard.BumpFrom(hash, stamp)
		if !ok || written == nil {
			return nil
		}
		written.stamp = next
		return written
	})
}

// leave is called after a write whose outcome somebody else sees to.
func (e *echoes) leave(hash uint64) { e.end(hash, 0, func(uint64) *entry { return nil }) }

// end keeps the entry that a write is given for the stamp that the guard shows if only
// announcements were heard since the token. No announcement comes in between: it is
// either counted or finds the entry. The entry is read again once its write is
// announced: now, where it may have been already.
func (e *echoes) end(hash, token uint64, write func(stamp uint64) *entry) {
	e.mu.Lock()
	w := e.writing[hash]
	if w.writes--; w.writes == 0 {
		delete(e.writing, hash)
	}
	written := write(token + w.bumps)
	if written != nil {
		written.echo = &echo{wrote: e.s.now()}
		e.s.keep(hash, written)
	}
	heard := w.heard
	e.mu.Unlock()
	if written != nil && heard && !e.heard(hash, written.id) {
		e.s.outdate(hash, telemetry.InvalidatedByEcho)
	}
}

// heard takes an announcement. It is false where the caller must outdate the session.
func (e *echoes) heard(hash uint64, id string) bool {
	taken, first := e.take(hash, id)
	if first != nil {
		e.s.reporter.Delayed(time.Duration(e.s.now() - first.wrote))
	}
	return taken
}

// take also answers the write that was announced for the first time.
func (e *echoes) take(hash uint64, id string) (taken bool, first *echo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.writing[hash]
	if w != nil {
		w.heard = true
	}
	own, ok := e.s.lookup(hash)
	if ok && own.echo != nil && own.snapshot != nil && own.id == id && own.stamp == e.s.guard.Stamp(hash) &&
		e.s.now()-own.echo.wrote < int64(echoWindow) {
		times := own.echo.heard.Add(1)
		if times == 1 {
			first = own.echo
		}
		if times <= echoCount && e.again(own) {
			return true, first
		}
	}
	if w != nil {
		w.bumps++
		e.s.outdate(hash, telemetry.InvalidatedByAnnouncement)
		return true, first
	}
	return false, first
}

// again has an entry read again. It is called under mu.
func (e *echoes) again(own *entry) bool {
	if e.closed || len(e.queue) >= maxEchoes {
		return false
	}
	e.queue = append(e.queue, own)
	if !e.running {
		e.running = true
		e.done.Add(1)
		go e.run()
	}
	return true
}

func (e *echoes) run() {
	defer e.done.Done()
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.running, e.queue = false, nil
			e.mu.Unlock()
			return
		}
		own := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		e.reread(own)
	}
}

// reread replaces the entry by what the store holds, unless something was heard of it
// meanwhile. A store that doesn't answer leaves it outdated.
func (e *echoes) reread(own *entry) {
	hash := e.s.guard.Hash(own.id)
	if e.s.guard.Stamp(hash) != own.stamp {
		return
	}
	ctx, cancel := context.WithTimeout(e.life, echoTimeout)
	defer cancel()
	began := e.s.now()
	e.s.tally.AddAt(telemetry.Loads, hash)
	var fresh *entry
	defer func() {
		_ = recover() // the store's panic belongs to those who ask for the session
		e.replace(hash, own, fresh)
	}()
	read, err := e.s.inner.Load(ctx, own.id, own.ttl)
	if err == nil && read.Snapshot != nil {
		fresh = &entry{id: own.id, ttl: own.ttl, snapshot: read.Snapshot, stamp: own.stamp, loaded: began, echo: own.echo}
	}
}

// replace puts what was read in the place of an entry that is still current; where
// nothing could be, it outdates it.
func (e *echoes) replace(hash uint64, own, fresh *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.s.guard.Stamp(hash) != own.stamp:
	case fresh == nil:
		e.s.outdate(hash, telemetry.InvalidatedByEcho)
	default:
		e.s.keep(hash, fresh)
	}
}

// close ends what is under way.
func (e *echoes) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.done.Wait()
}
