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
// The announcements right after a write have its state read again in the background, and
// leave it in place meanwhile, for echoPatience at most and no longer than the sources had
// vouched when they announced it: what another node may have written since is then seen
// some milliseconds later than it would have been, and within the lease. Later ones, and
// more than a few, invalidate the state.
//
// mu guards all fields but those that are set by init. One goroutine reads again what
// waits by then, while anything does.
type echoes struct {
	s        *Storage
	reloader tiers.Reloader // nil: one by one

	mu      sync.Mutex
	queue   []*echo // to be read again
	running bool
	closed  bool
	done    sync.WaitGroup
	life    context.Context
	cancel  context.CancelFunc
}

// echo is what was heard of the write that made an entry. wrote, a moment on the tier's
// clock, and ttl never change; until is atomic, and is written under echoes.mu, which
// guards the rest.
type echo struct {
	wrote int64
	ttl   time.Duration
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

// of is the echo of a write that ends now.
func (e *echoes) of(ttl time.Duration) *echo { return &echo{wrote: e.s.now(), ttl: ttl} }

// slid is the echo of a slide of a state that may be yet to be read again.
func (e *echoes) slid(before *echo, ttl time.Duration) *echo {
	next := e.of(ttl)
	if before != nil {
		next.until.Store(before.until.Load())
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
	e.s, e.reloader = s, tiers.ReloaderOf(s.inner)
	e.life, e.cancel = context.WithCancel(context.Background())
}

// patience is the moment until which a state is served that was announced now.
func (e *echoes) patience() int64 {
	until := e.s.now() + int64(echoPatience)
	if e.s.watch.watched.Load() {
		until = min(until, e.s.watch.until.Load())
	}
	return max(until, 1)
}

// announced takes an announcement while an entry is current, nil for none. If it isn't taken,
// the caller must invalidate the session. The delay is that of a write which is announced for
// the first time, and negative for others.
func (e *echoes) announced(own *entry, patience int64) (taken bool, delay time.Duration) {
	if own == nil || own.echo == nil || own.snapshot == nil {
		return false, -1
	}
	after := e.s.now() - own.echo.wrote
	if after >= int64(echoWindow) {
		return false, -1
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	own.echo.times++
	if delay = -1; own.echo.times == 1 {
		delay = time.Duration(after)
	}
	return own.echo.times <= echoCount && e.again(own, patience), delay
}

// again has an entry read again. It is called under mu.
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
	e.mu.Lock()
	defer e.mu.Unlock()
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

// rereading is one of the reads in the background.
type rereading struct {
	own  *entry
	call call
}

// board takes what waits and hasn't been invalidated meanwhile. If nothing waits, the
// goroutine ends.
func (e *echoes) board() (batch []rereading) {
	for bytes := int64(0); len(batch) < echoBatch && bytes < echoBytes; {
		own := e.first(len(batch) == 0)
		if own == nil {
			break
		}
		if r, ok := e.s.reread(own); ok {
			batch = append(batch, r)
			bytes += r.own.snapshot.Size()
		}
	}
	return batch
}

// first takes the first one that waits, nil for none; an idle goroutine ends then.
func (e *echoes) first(idle bool) *entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		if idle {
			e.running, e.queue = false, nil
		}
		return nil
	}
	echo := e.queue[0]
	e.queue[0] = nil
	e.queue = e.queue[1:]
	own := echo.next
	echo.next = nil
	return own
}

// reread is called before the state of an entry is read again. It isn't ok if that was
// invalidated.
func (s *Storage) reread(own *entry) (r rereading, ok bool) {
	hash := s.guard.Hash(own.id)
	turn := s.keeping.turn(hash)
	turn.Lock()
	defer turn.Unlock()
	if kept := s.lookup(hash); kept != nil && kept.echo == own.echo {
		own = kept // with what was changed since
	}
	if own.stamp != s.guard.Stamp(hash) {
		return rereading{}, false
	}
	return rereading{own: own, call: s.enter(turn, hash, false)}, true
}

// reread ends each of the calls as any read. A state that can't be read is invalidated.
func (e *echoes) reread(batch []rereading) {
	ctx, cancel := context.WithTimeout(e.life, echoTimeout)
	defer cancel()
	began := e.s.now()
	e.s.tally.AddN(telemetry.Loads, len(batch))
	results := make([]tiers.Reloaded, len(batch))
	for n := range results {
		results[n].Err = errAborted
	}
	defer func() {
		_ = recover() // the store's panic belongs to those who ask for the session
		for n, r := range batch {
			e.ended(r, results[n], began)
		}
	}()
	results = e.load(ctx, batch, results)
}

func (e *echoes) ended(r rereading, result tiers.Reloaded, began int64) {
	switch s, own := e.s, r.own; {
	case result.Err != nil:
		s.spoil(r.call)
	case s.returned(r.call, own.id, result.Read, began, false):
		e.settle(own.echo)
	}
}

func (e *echoes) load(ctx context.Context, batch []rereading, results []tiers.Reloaded) []tiers.Reloaded {
	if e.reloader != nil {
		loads := make([]tiers.Reload, len(batch))
		for n, r := range batch {
			loads[n] = tiers.Reload{ID: r.own.id, TTL: r.own.echo.ttl, Known: r.own.snapshot}
		}
		return e.reloader.LoadAll(ctx, loads)
	}
	for n, r := range batch {
		results[n].Read, results[n].Err = e.s.inner.Load(ctx, r.own.id, r.own.echo.ttl)
	}
	return results
}

// close ends what is under way.
func (e *echoes) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.done.Wait()
}
