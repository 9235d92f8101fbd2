package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/errors/gcode"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// request holds the state of a request's session, and is the storage through which that session
// reaches the chain. It belongs to the request's goroutine, as r.Session does.
//
// A change of id is noted and made at the commit, so that a handler which panics, or whose commit
// fails, leaves the client with the session that it had. Direct stores write at once.
type request struct {
	chain   *layer.Stack
	of      *sessions
	server  *settings
	r       *ghttp.Request
	ctx     context.Context
	manager *gsession.Manager
	session *gsession.Session
	writer  *writer
	direct  bool

	presented string   // what the client has sent, if a session may have it
	claimed   record   // what that says of itself, where ids are signed
	others    []string // what other cookies of the name say
	byHeader  bool
	loaded    bool   // the store was asked, or an id was made
	id        string // what the session is called, or will be
	stored    string // what the store calls it; "" where there is none
	begun     bool   // by a write of this request, where the store is direct
	endStored bool   // the session under stored ends when the one under id is there
	loggedIn  bool   // by Login, since the last commit: what waits for the old id ends with it
	left      string // what a log-out in this request has ended
	gone      []gone // what was presented, while there is no session under any of it
	record    record
	failed    failed    // the handler's last call that failed
	until     *follower // nil unless Until was called
	ended     bool      // the middleware is done
}

// failed is the chain's last error for a call of the handler, which may panic with it.
type failed struct{ err error }

func (f *failed) note(err error) error {
	if err != nil && !errors.Is(err, gsession.ErrorDisabled) {
		f.err = err
	}
	return err
}

type requestKey struct{}

// requestOf is the state of a request, nil where no web.Sessions is about it. The context holds a
// func, so that what dumps contexts finds no ids and keys.
func requestOf(r *ghttp.Request) *request {
	if get, ok := r.Context().Value(requestKey{}).(func() *request); ok {
		return get()
	}
	return nil
}

// newRequest puts the middleware's session and writer into a request.
func newRequest(s *sessions, r *ghttp.Request, server *settings) *request {
	q := &request{chain: s.chain, of: s, server: server, r: r}
	q.present()
	r.SetCtxVar(requestKey{}, func() *request { return q })
	q.ctx = r.GetNeverDoneCtx()
	q.manager = gsession.New(server.idle, q)
	q.writer = &writer{ResponseWriter: r.Response.Writer.ResponseWriter, request: q}
	r.Response.Writer.ResponseWriter = q.writer
	q.renew(q.presented)
	return q
}

// present notes the id that the client has sent, unless no session can have it, and whether it came in
// the header. Of several cookies of the name, as of other paths and domains, the first counts whose
// session is there; a few are tried.
func (q *request) present() {
	s, r := q.of, q.r
	if s.header != "" {
		id := r.Header.Get(s.header)
		if s.bearer {
			scheme, token, _ := strings.Cut(id, " ")
			if id = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") {
				id = ""
			}
		}
		if q.byHeader = id != ""; q.byHeader {
			if !s.warned.Load() && isExposed(r) && s.warned.CompareAndSwap(false, true) {
				s.log.Warn(r.Context(), "", "strata: web: session ids come in a header without TLS, so that the network reads them; serve TLS, or have the proxy that ends it set X-Forwarded-Proto")
			}
			q.accept(id)
			return
		}
	}
	if s.cookie == nil {
		return
	}
	_, name := q.server.cookie.over(r)
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var field string
			field, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			switch value = unquoted(value); {
			case key != name || len(q.others) == mostOthers:
			case q.presented == "":
				q.accept(value)
			default:
				q.others = append(q.others, value)
			}
		}
	}
}

// mostOthers is how many cookies of the name are tried after the first one.
const mostOthers = 3

// another notes that there is no session under the id, and has the next of the cookies count.
func (q *request) another(id string, reason layer.Reason) bool {
	if id != q.presented || q.ended {
		return false
	}
	q.gone = append(q.gone, gone{id, reason})
	for len(q.others) > 0 {
		other := q.others[0]
		q.others = q.others[1:]
		if q.accept(other) {
			return q.session.SetId(q.presented) == nil
		}
	}
	return false
}

// accept notes the id if a session may have it.
func (q *request) accept(id string) (ok bool) {
	claimed, ok := q.of.read(id)
	if ok {
		q.presented, q.claimed = strings.Clone(id), claimed
	}
	return ok
}

// renew gives the request a session that has touched nothing yet.
func (q *request) renew(id string) {
	q.session = q.manager.New(q.ctx, id)
	q.r.Session = q.session
	q.loaded, q.id, q.stored, q.begun, q.endStored, q.loggedIn = false, id, "", false, false, false
}

// end commits, once the handler is done. Later code, ghttp's own close included, finds a session
// that has nothing to be closed.
func (q *request) end() {
	var err error
	sent := q.writer.begun
	dropped := !q.of.commitOnPanic && panicked(q.r)
	if dropped {
		q.record, q.left = record{}, ""
	} else if !q.writer.refused {
		err = q.commit()
	}
	if failed := q.failed.err; failed != nil && panicked(q.r) && errors.Is(q.r.GetError(), failed) {
		err = failed // which MustGet and the like panic with
	}
	id, read := q.id, q.loaded
	if read {
		id = q.stored
	}
	q.ended = true
	if dropped || q.session.IsDirty() { // what was only read may be read on
		q.renew(id)
	}
	switch {
	case sent:
	case err != nil:
		q.fail(err)
	default:
		q.mark(read)
	}
}

// leave follows the end, which OnError, Describe or a storage may have left with a panic: nothing more
// is committed then. A middleware around this one takes over again.
func (q *request) leave(outer *request) {
	if !q.ended {
		q.ended, q.record, q.left = true, record{}, ""
		q.renew(q.presented)
	}
	if q.until != nil {
		q.of.watch.leave(q.until)
	}
	if outer != nil {
		outer.r.SetCtxVar(requestKey{}, func() *request { return outer })
		outer.r.Session = outer.session
	}
}

// beforeFirstByte is called when the response begins to leave: while the handler runs, or for
// what middlewares and hooks have changed after the session had been committed.
func (q *request) beforeFirstByte() error {
	if !q.ended {
		err := q.commit()
		if err == nil {
			q.mark(q.loaded)
		}
		return err
	}
	if !q.session.IsDirty() {
		return nil
	}
	// ghttp takes it for a session of its own by now, and has set a cookie of its own.
	dropCookie(q.r.Response.Header(), q.r.Server.GetSessionIdName())
	err := q.commit()
	q.renew(q.id)
	return err
}

// fail drops the handler's response for that of OnError.
func (q *request) fail(err error) {
	response := q.r.Response
	header := response.Header()
	for _, name := range []string{
		"Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Content-Disposition",
		"Etag", "Last-Modified", "Location", "Expires",
	} {
		header.Del(name)
	}
	header.Set("Cache-Control", "no-store")
	response.ClearBuffer()
	response.Status = http.StatusServiceUnavailable
	q.of.onError(q.r, err)
}

// mark has shared caches keep away from a response that depends on the session. A request without an
// id doesn't show whether it has asked for one: its response is for such requests alone.
func (q *request) mark(read bool) {
	if !read && q.presented != "" {
		return
	}
	header := q.r.Response.Header()
	if q.of.header != "" {
		vary(header, q.of.header)
	}
	if q.of.cookie != nil {
		vary(header, "Cookie")
	}
	if read {
		private(header, false)
	}
}

// panicked reports whether ghttp has caught a panic of a handler or an inner middleware: it makes an
// error of it, and a response with the status 500. A panic with an error that has a stack already
// looks like such an error that was returned: they differ in the status, unless an inner
// middleware has changed it.
func panicked(r *ghttp.Request) bool {
	err := r.GetError()
	return err != nil && (gerror.HasCode(err, gcode.CodeInternalPanic) ||
		r.Response.Status == http.StatusInternalServerError && gerror.HasStack(err))
}

func isRevoked(err error) bool { return errors.Is(err, layer.ErrRevoked) }

// commit writes what the handler has changed, and sends the id where the client doesn't have it.
func (q *request) commit() error {
	if !q.loaded {
		return nil
	}
	var (
		now     = time.Now()
		cookies = q.byCookie() && !q.writer.closed
		before  = q.record
	)
	switch {
	case q.session.IsDirty():
		if err := q.save(before, now); err != nil {
			return err
		}
	case q.stored == "":
		return nil
	case cookies && q.due(now), q.of.absolute > 0 && q.record.began == 0:
		// A request that only reads is as good as it was where this doesn't succeed.
		if cookies && q.due(now) {
			q.record.sent = now.UnixMilli()
		}
		if err := q.session.Remove(); err != nil { // has it be written
			return err
		}
		if q.save(before, now) != nil {
			q.record = before
			return nil
		}
	default:
		// The chain logs a slide that fails; the next request slides again.
		ttl := q.ttl(now)
		_ = q.chain.UpdateTTL(q.ctx, q.stored, ttl)
		q.expires(now, ttl)
		return nil
	}
	q.of.watch.follow(q.until, q.stored)
	if cookies {
		switch {
		case q.stored == "" && q.left != "":
			q.server.cookie.set(q.r, "", 0)
		case q.stored != "" && (q.stored != q.presented || q.record.sent != before.sent):
			q.server.cookie.set(q.r, q.stored, q.server.cookie.lasts(q.ttl(now)))
		}
	}
	return nil
}

// byCookie reports whether the client has the id in a cookie, as far as it has one.
func (q *request) byCookie() bool { return q.of.cookie != nil && !q.byHeader }

// due reports whether a tenth of the cookie's life is used up.
func (q *request) due(now time.Time) bool {
	life := q.server.cookie.lasts(q.ttl(now))
	return life > 0 && now.UnixMilli()-q.record.sent >= (life/10).Milliseconds()
}

// ttl is how long the store is to keep the session from now. GoFrame's stores take no less than a
// second; the absolute limit is looked at once more when the session is loaded.
func (q *request) ttl(now time.Time) time.Duration {
	left := q.record.left(now, q.server.idle, q.of.absolute)
	least := time.Second
	if idle, _ := q.record.limits(q.server.idle, 0); idle > 0 {
		least = min(least, idle)
	} else if left == 0 {
		return 0 // never
	}
	return max(left, least)
}

// load asks the store for the session, unless that is done.
func (q *request) load() error {
	if q.loaded {
		return nil
	}
	if _, err := q.session.Get(Key); err != nil {
		return fmt.Errorf("strata: web: the session could not be read: %w", err)
	}
	return nil
}

// change changes the record, and with it the id. So a request that overlaps can't write back the
// record that it had read.
func (q *request) change(edit func(rec *record, now int64)) error {
	if q.byCookie() && q.writer.closed {
		return errBegun
	}
	id, err := q.session.Id() // loads it, or makes an id
	if err != nil {
		return err
	}
	q.takes(id)
	before, loggedIn := q.record, q.loggedIn
	edit(&q.record, time.Now().UnixMilli())
	if q.id == q.stored || q.id == q.presented || q.of.signer != nil {
		_, err = q.session.RegenerateId(true)
	}
	if err == nil && q.stored != "" && !q.endStored {
		err = q.RemoveAll(q.ctx, q.stored) // the handler's own RegenerateId has kept it
	}
	if err != nil {
		q.record, q.loggedIn = before, loggedIn
		return err
	}
	return q.session.Remove() // of no key: has the session be written
}

// fresh makes an id for the session.
func (q *request) fresh() string {
	if s := q.of.signer; s != nil {
		began := time.Now()
		if q.record.began > 0 {
			began = time.UnixMilli(q.record.began)
		}
		return s.newID(began, time.Duration(q.record.absolute)*time.Millisecond)
	}
	return NewID()
}

var _ gsession.Storage = (*request)(nil)

// New is for the first write of a request without a session, and for RegenerateId.
func (q *request) New(ctx context.Context, _ time.Duration) (string, error) {
	id := q.fresh()
	if !q.loaded || q.id == "" {
		q.direct = q.of.top.Style(ctx) != tiers.StyleSnapshot
		q.loaded, q.id = true, id
	}
	return id, nil
}

// GetSession is called once, before anything else. If there is no session under the id that it
// was given, the session takes a new one.
func (q *request) GetSession(ctx context.Context, id string, ttl time.Duration) (_ *gmap.StrAnyMap, err error) {
	defer func() { _ = q.failed.note(err) }()
	now := time.Now()
	q.direct = q.of.top.Style(ctx) != tiers.StyleSnapshot
	if id == q.presented && q.claimed.left(now, 0, q.of.absolute) < 0 {
		if q.another(id, layer.ReasonExpired) {
			return q.GetSession(ctx, q.presented, ttl)
		}
		return nil, q.unknown()
	}
	m, err := q.chain.GetSession(ctx, id, ttl)
	if err != nil {
		return m, err
	}
	if m == nil || !q.direct && m.Size() == 0 { // StorageMemory has an empty one for each id
		if q.another(id, q.of.expiries.reason(id, now)) {
			return q.GetSession(ctx, q.presented, ttl)
		}
		if q.of.adopt || id != q.presented && !q.ended {
			q.loaded, q.id = true, id // the client's choice, or the handler's own
			return m, nil
		}
		return nil, q.unknown()
	}
	var kept any
	if q.direct {
		if kept, err = q.chain.Get(ctx, id, Key); err != nil && !errors.Is(err, gsession.ErrorDisabled) {
			return nil, err
		}
	}
	if kept == nil {
		kept = m.Remove(Key)
	}
	known := recordOf(kept)
	if known.left(now, 0, q.of.absolute) < 0 {
		if err := q.remove(ctx, id, layer.ReasonExpired); err != nil {
			return nil, err
		}
		if q.another(id, layer.ReasonExpired) {
			return q.GetSession(ctx, q.presented, ttl)
		}
		return nil, q.unknown()
	}
	q.loaded, q.id, q.stored, q.record, q.gone = true, id, id, known, nil
	return m, nil
}

// exists reports whether there is a session, or will be one after the next commit.
func (q *request) exists() bool {
	if q.stored != "" || q.record.wanted() {
		return true
	}
	size, err := q.session.Size()
	return err == nil && size > 0
}

// takes has the session be called what the program's own SetIdFunc says.
func (q *request) takes(id string) {
	if q.id == "" {
		q.direct = q.of.top.Style(q.ctx) != tiers.StyleSnapshot
		q.loaded, q.id = true, id
	}
}

// begins precedes a write. A session begins only if the client gets its id, and can send it.
func (q *request) begins(id string) error {
	q.takes(id)
	switch {
	case q.stored != "":
		return nil
	case q.byCookie() && q.writer.closed:
		return errBegun
	case id == q.left:
		return errOwnID
	}
	if _, ok := q.of.read(id); !ok {
		return errOwnID
	}
	return nil
}

// unknown has the session begin under a new id, if it is written at all.
func (q *request) unknown() error {
	q.loaded, q.id = true, ""
	return q.session.SetId("")
}

// SetSession is called when the session is closed, and by RegenerateId with another id.
func (q *request) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	now := time.Now()
	switch {
	case id != q.id:
		return q.rename(ctx, id, data, now)
	case id == q.left:
		return nil // what was logged out isn't begun again
	case q.direct:
		return q.chain.SetSession(ctx, q.id, data, q.ttl(now))
	case q.stored == "" && data.Size() == 0 && !q.record.wanted():
		return nil
	}
	moving := q.endStored && q.stored != "" && q.stored != q.id
	if q.stored != "" {
		defer q.of.moves.enter(q.stored, moving)()
	}
	before := q.record
	q.touch(now)
	data.Set(Key, q.record.String())
	ttl = q.ttl(now)
	var err error
	if moving && !q.loggedIn {
		err = q.of.watch.leaveNote(ctx, false, q.stored, q.id)
	}
	if err == nil {
		err = q.chain.SetSession(q.described(ctx), q.id, data, ttl)
	}
	data.Remove(Key)
	if err == nil && moving {
		q.follow(q.stored, q.id)
		if err = q.remove(ctx, q.stored, ""); err != nil {
			q.follow(q.id, q.stored)
			err = errors.Join(err, q.remove(ctx, q.id, ""))
		}
	}
	if err != nil {
		q.record = before
		return err
	}
	q.stored, q.endStored, q.loggedIn = q.id, false, false
	q.expires(now, ttl)
	return nil
}

// rename has the session be called otherwise from the next commit on, or at once where the store is direct.
func (q *request) rename(ctx context.Context, id string, data *gmap.StrAnyMap, now time.Time) error {
	if q.byCookie() && q.writer.closed {
		return errBegun
	}
	q.takes(id)
	if q.direct && q.stored != "" {
		if q.begun { // its map isn't of the chain, which therefore doesn't know what to carry
			kept, err := q.chain.Data(ctx, q.id)
			if err == nil {
				err = q.chain.SetMap(q.described(ctx), id, kept, q.ttl(now))
			}
			if err != nil {
				return err
			}
		}
		if err := q.chain.SetSession(ctx, id, data, q.ttl(now)); err != nil {
			return err
		}
	}
	q.id = id
	return nil
}

// follow has what waits for the end of the session wait for it under another id: after a log-in this
// request alone, as an attacker who had the old id may have sent the others.
func (q *request) follow(from, to string) {
	if q.loggedIn {
		q.of.watch.follow(q.until, to)
	} else {
		q.of.watch.moved(from, to)
	}
}

// remove ends a session for a reason, which is "" where it goes on under another id.
func (q *request) remove(ctx context.Context, id string, reason layer.Reason) error {
	if q.of.users != nil {
		ctx = layer.WithReason(ctx, reason)
	}
	if err := q.chain.RemoveAll(ctx, id); err != nil {
		return err
	}
	q.of.expiries.forget(id)
	q.of.watch.changed(id)
	return nil
}

// expires notes when the session ends that the store keeps for ttl.
func (q *request) expires(now time.Time, ttl time.Duration) {
	if ttl > 0 {
		idle, _ := q.record.limits(q.server.idle, 0)
		q.of.expiries.note(q.stored, now.Add(ttl), idle <= 0 || ttl < idle)
	}
}

// described is a context for what may begin a session.
func (q *request) described(ctx context.Context) context.Context {
	if q.of.users == nil {
		return ctx
	}
	return layer.WithDescription(ctx, q.of.describe(q.r))
}

// touch completes the record before it is written.
func (q *request) touch(now time.Time) {
	if q.record.began == 0 {
		q.record.began = now.UnixMilli()
	}
	if q.byCookie() && !q.writer.closed && (q.id != q.presented || q.due(now)) {
		q.record.sent = now.UnixMilli()
	}
}

// UpdateTTL is called by ghttp, for a session that was only read after the commit, which has slid
// the expiry already.
func (q *request) UpdateTTL(context.Context, string, time.Duration) error { return nil }

// RemoveAll is the log-out, or RegenerateId ending the id from before.
func (q *request) RemoveAll(ctx context.Context, id string) (err error) {
	defer func() { _ = q.failed.note(err) }()
	if id != q.id {
		if q.direct {
			if !q.loggedIn {
				if err := q.of.watch.leaveNote(ctx, true, id, q.id); err != nil {
					return err
				}
			}
			q.follow(id, q.id)
			if err := q.remove(ctx, id, ""); err != nil {
				return err
			}
		}
		q.endStored = q.endStored || id == q.stored
		return nil
	}
	ends := []string{q.stored}
	if q.direct && id != q.stored { // which the handler has kept then
		ends = append(ends, id)
	}
	for _, gone := range q.gone { // another request may have changed the id since the client has sent this one
		ends = append(ends, gone.id)
	}
	for _, id := range ends {
		if err := q.logOut(ctx, id); err != nil {
			return err
		}
	}
	q.left, q.stored, q.endStored, q.record = id, "", false, record{}
	if q.byCookie() && q.writer.closed {
		return nil
	}
	_, err = q.session.RegenerateId(false) // what comes after a log-out isn't what was ended
	return err
}

// logOut ends a session, also under the ids that other requests have given it meanwhile. A change of id leaves its note
// before it looks whether the session is still there: either it finds that the session has ended, or the log-out finds
// the note. Over a direct store the note comes after that look, and a log-out in between may miss it.
func (q *request) logOut(ctx context.Context, id string) (err error) {
	for n := 0; n < mostMoves && id != "" && err == nil; n++ {
		if err = q.remove(ctx, id, layer.ReasonLoggedOut); err == nil {
			id, err = q.of.watch.forward(ctx, id)
		}
	}
	return err
}

const mostMoves = 8 // of one session, while it is logged out

// save writes the session, and of a direct store's the record, where it has changed. Such sessions are written key by
// key, and so are the methods below for them.
func (q *request) save(before record, now time.Time) error {
	if err := q.session.Close(); err != nil || !q.direct || q.stored == "" && !q.record.wanted() {
		return err
	}
	if q.id != q.stored {
		before = record{}
	}
	q.touch(now)
	q.begun = q.begun || q.stored == ""
	q.stored, q.endStored, q.loggedIn = q.id, false, false
	if q.record == before {
		return nil
	}
	return q.chain.Set(q.described(q.ctx), q.id, Key, q.record.String(), q.ttl(now))
}

func (q *request) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if err := q.begins(id); err != nil {
		return err
	}
	if !q.direct {
		return gsession.ErrorDisabled
	}
	return q.SetMap(ctx, id, map[string]any{key: value}, ttl)
}

var errReserved = errors.New("strata: web: the key " + Key + " is reserved; take another one")

func (q *request) SetMap(ctx context.Context, id string, data map[string]any, _ time.Duration) error {
	if err := q.begins(id); err != nil {
		return err
	}
	if !q.direct {
		return gsession.ErrorDisabled
	}
	if _, ok := data[Key]; ok {
		return errReserved
	}
	err := q.chain.SetMap(q.described(ctx), id, data, q.ttl(time.Now()))
	if err == nil && q.stored == "" {
		q.stored, q.begun = id, true
		q.touch(time.Now())
		err = q.chain.Set(ctx, id, Key, q.record.String(), q.ttl(time.Now()))
	}
	return q.failed.note(err)
}

func (q *request) Get(ctx context.Context, id, key string) (any, error) {
	if !q.direct || key == Key {
		return nil, gsession.ErrorDisabled
	}
	value, err := q.chain.Get(ctx, id, key)
	return value, q.failed.note(err)
}

func (q *request) Data(ctx context.Context, id string) (map[string]any, error) {
	data, err := q.chain.Data(ctx, id)
	delete(data, Key)
	return data, err
}

func (q *request) GetSize(ctx context.Context, id string) (int, error) {
	size, err := q.chain.GetSize(ctx, id)
	if size > 0 && q.stored != "" {
		size--
	}
	return size, err
}

func (q *request) Remove(ctx context.Context, id, key string) error {
	if key == Key {
		return errReserved
	}
	return q.failed.note(q.chain.Remove(ctx, id, key))
}
