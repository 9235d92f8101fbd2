package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// ErrTooMany is the cause of a context that Until returns where as many requests wait for the end
// of their sessions as MostUntil allows: it has ended at once.
var ErrTooMany = errors.New("strata: web: as many requests wait for the end of their sessions as web.MostUntil allows; close some, or allow more")

// MostUntil is how many requests may wait for the end of their sessions, by Until, at the same
// time; 65,536 unless set.
func MostUntil(n int) Option { return func(s *sessions) { s.watch.most = n } }

const mostUntil = 1 << 16

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
	q.until = &follower{ctx: ctx, cancel: cancel, ttl: q.server.idle}
	if err := q.load(); err != nil {
		cancel(err)
	} else {
		q.of.watch.follow(q.until, q.storage.stored)
	}
	return ctx
}

// watch follows the sessions of requests that wait for their end. One goroutine does, while there
// are any; it asks the store for several at a time.
//
// mu guards sessions, waiting, running and valid, and what belongs to a followed session; count
// is waiting as an atomic. The rest is set by Sessions. No other lock is taken under mu.
type watch struct {
	most   int
	of     *sessions
	store  tiers.Storage            // below caches, with what waits to be committed
	marks  tiers.Storage            // whose reads know what is over by a mark; nil without an index
	source tiers.InvalidationSource // nil for none

	count    atomic.Int64
	wake     chan struct{}
	mu       sync.Mutex
	sessions map[string]*followed
	waiting  int
	running  bool
	valid    time.Time // until when the source vouches for what was read
}

// followed is a session that requests wait for. watch.mu guards it.
type followed struct {
	followers map[*follower]bool
	ttl       time.Duration // its full time to live
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
	ttl    time.Duration
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
func (w *watch) follow(f *follower, id string) {
	if f == nil || id == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.id == id || f.ctx.Err() != nil {
		return // it waits already, or needn't any more
	}
	w.drop(f)
	if w.waiting >= w.most {
		f.cancel(ErrTooMany)
		return
	}
	w.waiting++
	w.count.Store(int64(w.waiting))
	w.put(f, id)
	if !w.running {
		w.running = true
		go w.run()
	}
	w.notify()
}

// put is called under mu. The session is asked for at once, as it may have ended before.
func (w *watch) put(f *follower, id string) {
	is := w.sessions[id]
	if is == nil {
		is = &followed{followers: map[*follower]bool{}}
		w.sessions[id] = is
	}
	f.id = id
	is.followers[f], is.ttl = true, f.ttl
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
	w.waiting--
	w.count.Store(int64(w.waiting))
}

func (w *watch) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// moved has those who wait for a session wait for it under its new id.
func (w *watch) moved(from, to string) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	is := w.sessions[from]
	if is == nil {
		return
	}
	delete(w.sessions, from)
	for f := range is.followers {
		w.put(f, to)
	}
	w.notify()
}

// changed has the store be asked for a session.
func (w *watch) changed(id string) {
	if w.count.Load() == 0 {
		return
	}
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
		if w.waiting == 0 {
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
	is, next, err := w.inquire(ctx, id, ttl)
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
	case next != "":
		delete(w.sessions, id)
		for f := range at.followers {
			w.put(f, next)
		}
		w.notify()
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

// seen is a session as the store holds it.
type seen struct {
	there   bool
	expires time.Time
	reason  layer.Reason
}

// inquire returns what is known of a session, and under which id it goes on if it isn't there. A panic of a storage is
// an error.
func (w *watch) inquire(ctx context.Context, id string, ttl time.Duration) (is seen, next string, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	if is, err = w.ask(ctx, id, ttl); err != nil || is.there {
		return is, "", err
	}
	if next, err = w.forward(ctx, id); err == nil && next == "" && is.reason == "" {
		is.reason = w.of.reasonOf(ctx, id, w.of.expiries.reason(id, time.Now()))
	}
	return is, next, err
}

// ask looks for a session in the store.
func (w *watch) ask(ctx context.Context, id string, ttl time.Duration) (is seen, err error) {
	read, err := w.store.Load(ctx, id, ttl)
	if err != nil || read.Snapshot.Len() == 0 {
		return is, err
	}
	is.expires, _ = read.Snapshot.Expires()
	rec := recordOf(read.Snapshot.Data()[Key])
	now := time.Now()
	if rec.left(now, 0, w.of.absolute) < 0 {
		is.reason = layer.ReasonExpired
		return is, nil
	}
	if _, absolute := rec.limits(0, w.of.absolute); absolute > 0 && rec.began > 0 {
		if end := time.UnixMilli(rec.began).Add(absolute); is.expires.IsZero() || end.Before(is.expires) {
			is.expires = end
		}
	}
	if w.marks != nil {
		read, err := w.marks.Load(index.WithLook(ctx), id, ttl)
		if err != nil || read.Snapshot == nil {
			return is, err
		}
	}
	is.there = true
	return is, nil
}

// A session that goes on under another id leaves a note for other nodes, under a name that no client can ask
// for. After a log-in nothing follows it there: the note is for other log-ins of the session that overlap.
const (
	noteLife  = 2 * time.Minute
	noteLogIn = "login."
)

func noteID(id string) string {
	sum := sha256.Sum256([]byte("strata.web.moved\x00" + id))
	return "moved." + hex.EncodeToString(sum[:16])
}

// leaveNote says under which id the session goes on. It is in the store when it returns, also
// where others are written behind.
func (w *watch) leaveNote(ctx context.Context, loggedIn bool, from, to string) error {
	note := map[string]any{Key: to}
	if loggedIn {
		note = map[string]any{noteLogIn + to: "1"}
	}
	delta, err := tiers.Add(note)
	if err == nil {
		_, err = w.of.top.Commit(ctx, noteID(from), delta.AsUrgent(), noteLife)
	}
	return err
}

// notes are those that were left under an id, as the store holds them.
func (w *watch) notes(ctx context.Context, id string) (notes map[string]any, err error) {
	read, err := w.store.Load(ctx, noteID(id), noteLife)
	if err != nil || read.Snapshot.Len() == 0 {
		return nil, err
	}
	return read.Snapshot.Data(), nil
}

// forward is the id under which a session goes on, "" for none.
func (w *watch) forward(ctx context.Context, id string) (string, error) {
	notes, err := w.notes(ctx, id)
	next, _ := notes[Key].(string)
	return next, err
}

// anotherLogIn reports whether a log-in has taken a session along to another id than own, and isn't over, unless for
// the place that a limit gives to the caller.
func (w *watch) anotherLogIn(ctx context.Context, id, own string, ttl time.Duration) bool {
	notes, _ := w.notes(ctx, id)
	for key := range notes {
		if to, ok := strings.CutPrefix(key, noteLogIn); ok && to != own {
			if is, err := w.ask(ctx, to, ttl); err == nil && (is.there || w.of.reasonOf(ctx, to, "") == layer.ReasonDisplaced) {
				return true
			}
		}
	}
	return false
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
