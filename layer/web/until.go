package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// Until returns a context that ends with the request, and before that when its session ends, on
// whichever node: for WebSockets, server-sent events and long jobs. Its context.Cause is then an
// error for which errors.Is finds layer.ErrRevoked, and layer.ReasonOf says why, where that is
// known.
//
// A log-in ends it, as an attacker who had the old id may hold the other end: only the request of the [Login]
// itself goes on. Changes of the session, slides of its expiry and a new id without a log-in don't end
// it; nor does it keep the session alive. Where the store notifies of changes, as redisstore does, it ends within their
// delay. Elsewhere, and while invalidations can't be received, the store is asked each second; an
// end by a limit is noticed up to a quarter of a second later. A store that doesn't respond ends
// nothing.
//
// A request without a session waits for the one that it begins, from its commit on.
func Until(r *ghttp.Request) context.Context {
	q := requestOf(r)
	if q == nil {
		ctx, cancel := context.WithCancelCause(r.Context())
		cancel(errOutside)
		return ctx
	}
	if q.until != nil {
		return q.until.ctx
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	q.until = &follower{ctx: ctx, cancel: cancel}
	if err := q.load(); err != nil {
		cancel(err)
	} else {
		q.of.watch.follow(q.until, q.storage.stored, q.server.idle)
	}
	return ctx
}

// watch follows the sessions of requests that wait for their end, which bound its memory. One goroutine does, while there
// are any; it asks the store for several at a time.
//
// mu guards sessions, running and valid, and what belongs to a followed session. The rest is set by Sessions. No other
// lock is taken under mu.
type watch struct {
	of     *sessions
	store  tiers.Storage            // below caches, with what waits to be committed
	marks  tiers.Storage            // whose reads know what is over by a mark; nil without an index
	source tiers.InvalidationSource // nil for none

	wake     chan struct{}
	mu       sync.Mutex
	sessions map[string]*followed // that have followers
	running  bool
	valid    time.Time // until when the source vouches for what was read
}

// followed is a session that requests wait for. watch.mu guards it.
type followed struct {
	followers map[*follower]bool
	ttl       time.Duration // with which it is read
	due       time.Time     // when the store is asked next
	expires   time.Time     // as the store said last, zero if it didn't
	looking   bool
	again     bool // something has happened meanwhile
}

// follower is a request that waits. watch.mu guards id, which is "" before and after; the rest is
// set by Until.
type follower struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	id     string
}

// Bounds of the watch.
const (
	lookEvery   = time.Second            // between two looks, while no source vouches
	calmEvery   = 30 * time.Second       // and while one does
	lookTick    = 250 * time.Millisecond // between two looks at what is due
	lookTimeout = 3 * time.Second
	lookers     = 16
)

func (w *watch) begin(s *sessions) {
	w.of, w.wake, w.sessions = s, make(chan struct{}, 1), map[string]*followed{}
	layers := s.chain.Layers()
	for n := 0; n < len(layers); n++ {
		if inner, ok := layers[n].(*layer.Stack); ok {
			layers = append(layers[:n:n], inner.Layers()...)
			n--
		}
	}
	reader, cached := layers[len(layers)-1], false
	for _, l := range slices.Backward(layers) {
		switch l.(type) {
		case *local.Storage:
			cached = true
		case tiers.CommitFeed:
			reader = l
		default:
			if !cached && changes(l) { // without it, the record of a session can't be read
				reader = l
			}
		}
		if source, ok := l.(tiers.InvalidationSource); ok {
			w.source = source
		}
		if _, ok := l.(*index.Storage); ok {
			w.marks = s.top
		}
	}
	w.store = sessionmap.Adapt(reader)
}

// changes reports whether a layer returns other values than the one below; one that was made of functions
// shows it by what it unwraps.
func changes(l gsession.Storage) bool {
	_, is := l.(interface{ ChangesSessions() })
	if wraps, ok := l.(interface{ Unwrap() gsession.Storage }); ok && !is {
		_, is = wraps.Unwrap().(interface{ ChangesSessions() })
	}
	return is
}

// follow has a request wait for the end of a session, in place of what it has waited for.
func (w *watch) follow(f *follower, id string, ttl time.Duration) {
	if f == nil || id == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.id == id || f.ctx.Err() != nil {
		return // it waits already, or needn't any more
	}
	w.drop(f)
	w.put(f, id, ttl)
	if !w.running {
		w.running = true
		go w.run()
	}
	w.notify()
}

// put is called under mu. The session is asked for at once, as it may have ended before.
func (w *watch) put(f *follower, id string, ttl time.Duration) {
	is := w.sessions[id]
	if is == nil {
		is = &followed{followers: map[*follower]bool{}, ttl: ttl}
		w.sessions[id] = is
	}
	f.id = id
	is.followers[f] = true
	is.due, is.again = time.Time{}, true
}

// leave follows the end of a request.
func (w *watch) leave(f *follower) {
	f.cancel(context.Canceled)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(f)
	w.notify()
}

// drop is called under mu.
func (w *watch) drop(f *follower) {
	is := w.sessions[f.id]
	if f.id == "" || is == nil {
		return
	}
	delete(is.followers, f)
	if len(is.followers) == 0 {
		delete(w.sessions, f.id)
	}
	f.id = ""
}

func (w *watch) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// moved has those who wait for a session wait for it under its new id.
func (w *watch) moved(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.move(from, to)
}

// move is called under mu.
func (w *watch) move(from, to string) {
	is := w.sessions[from]
	if is == nil {
		return
	}
	delete(w.sessions, from)
	for f := range is.followers {
		w.put(f, to, is.ttl)
	}
	w.notify()
}

// changed has the store be asked for a session.
func (w *watch) changed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if is := w.sessions[id]; is != nil {
		is.due, is.again = time.Time{}, true
		w.notify()
	}
}

// all has the store be asked for all sessions.
func (w *watch) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allDue()
	w.notify()
}

// allDue is called under mu.
func (w *watch) allDue() {
	for _, is := range w.sessions {
		is.due, is.again = time.Time{}, true
	}
}

// run looks after the sessions until no request waits.
func (w *watch) run() {
	ctx, cancel := context.WithCancel(context.Background())
	slots := make(chan struct{}, lookers)
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
		for range lookers {
			slots <- struct{}{}
		}
	}()
	w.mu.Lock()
	w.valid = time.Time{}
	w.mu.Unlock()
	if w.source != nil {
		stops = append(stops, w.source.Subscribe(untilListener{w}))
	}
	if w.of.users != nil {
		stops = append(stops, w.of.users.Watch(w.all))
	}
	tick := time.NewTicker(lookTick)
	defer tick.Stop()
	for calm := false; ; {
		w.mu.Lock()
		if len(w.sessions) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		now := time.Now()
		was := calm
		if calm = now.Before(w.valid); was && !calm {
			w.allDue()
		}
		due := map[string]time.Duration{}
		for id, is := range w.sessions {
			if !is.looking && !now.Before(is.due) {
				is.looking, is.again = true, false
				due[id] = is.ttl
			}
		}
		w.mu.Unlock()
		for id, ttl := range due {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				w.look(ctx, id, ttl)
			}()
		}
		select {
		case <-w.wake:
		case <-tick.C:
		}
	}
}

// look asks the store for a session, and ends what waits for one that has ended.
func (w *watch) look(ctx context.Context, id string, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	is, err := w.inquire(ctx, id, ttl)
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.sessions[id]
	if at == nil {
		return
	}
	now := time.Now()
	at.looking = false
	switch {
	case err == nil && is.there:
		at.expires = is.expires
		at.due = now.Add(lookEvery)
		if now.Before(w.valid) {
			at.due = now.Add(calmEvery)
		}
		if !is.expires.IsZero() && is.expires.Before(at.due) {
			at.due = is.expires
		}
		if at.again {
			at.due = time.Time{}
			w.notify()
		}
	case err != nil:
		at.due = now.Add(lookEvery)
	case is.next != "":
		w.move(id, is.next)
	default:
		if is.reason == "" && !at.expires.IsZero() && !now.Before(at.expires) {
			is.reason = layer.ReasonIdle
		}
		cause := &index.Ended{Reason: is.reason, Cause: layer.ErrRevoked}
		for f := range at.followers {
			f.cancel(cause)
			w.drop(f)
		}
		w.notify()
	}
}

var errPanicked = errors.New("strata: web: a storage panicked")

// seen is a session as the store holds it, or why it isn't there and under which id it goes on, as far as is known.
type seen struct {
	there   bool
	expires time.Time
	reason  layer.Reason
	next    string
}

// inquire asks the store for a session. A panic of a storage is an error.
func (w *watch) inquire(ctx context.Context, id string, ttl time.Duration) (is seen, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	read, err := w.store.Load(ctx, id, ttl)
	if err != nil {
		return is, err
	}
	if read.Snapshot.Len() > 0 {
		rec := recordOf(read.Snapshot.Data()[recordKey])
		if is.there = rec.left(time.Now(), 0, w.of.absolute) >= 0; !is.there {
			is.reason = layer.ReasonExpired
		}
		is.expires, _ = read.Snapshot.Expires()
		if _, absolute := rec.limits(0, w.of.absolute); absolute > 0 && rec.began > 0 {
			if end := time.UnixMilli(rec.began).Add(absolute); is.expires.IsZero() || end.Before(is.expires) {
				is.expires = end
			}
		}
	}
	if is.there && w.marks != nil {
		if read, err = w.marks.Load(index.WithLook(ctx), id, ttl); err != nil {
			return is, err
		}
		is.there = read.Snapshot != nil
	}
	if is.there {
		return is, nil
	}
	if is.next, err = w.forward(ctx, id); err == nil && is.next == "" && is.reason == "" {
		is.reason = w.of.reasonOf(ctx, id)
	}
	return is, err
}

// A session that goes on under another id leaves a note for other nodes, under a name that no client can ask
// for. After a log-in there is none, as nothing follows it there.
const noteLife = 2 * time.Minute

func noteID(id string) string {
	sum := sha256.Sum256([]byte("strata.web.moved\x00" + id))
	return "moved." + hex.EncodeToString(sum[:16])
}

// leaveNote says under which id the session goes on. It is in the store when it returns, also
// where others are written behind.
func (w *watch) leaveNote(ctx context.Context, from, to string) error {
	delta, err := tiers.Add(map[string]any{recordKey: to})
	if err == nil {
		_, err = w.of.top.Commit(ctx, noteID(from), delta.AsUrgent(), noteLife)
	}
	return err
}

// forward is the id under which a session goes on, "" for none.
func (w *watch) forward(ctx context.Context, id string) (next string, err error) {
	read, err := w.store.Load(ctx, noteID(id), noteLife)
	if err == nil && read.Snapshot.Len() > 0 {
		next, _ = read.Snapshot.Data()[recordKey].(string)
	}
	return next, err
}

// untilListener is the watch's side that a source of invalidations notifies.
type untilListener struct{ w *watch }

func (l untilListener) Invalidate(id string) { l.w.changed(id) }
func (l untilListener) InvalidateAll()       { l.w.all() }

func (l untilListener) ValidUntil(until time.Time) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.valid = until
}

func (l untilListener) Unsupported(error) { l.ValidUntil(time.Time{}) }
