package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gogf/gf/v2/errors/gcode"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// request is a request under the middleware: it gives the handler its session, and commits that before the
// response leaves. It belongs to the request's goroutine, as r.Session does.
type request struct {
	of        *sessions
	server    *settings
	r         *ghttp.Request
	ctx       context.Context
	manager   *gsession.Manager
	presented presented
	session   *gsession.Session
	storage   storage // of session
	writer    *writer
	until     *follower // nil unless Until was called
	ended     bool      // the middleware is done
	read      bool      // a session before this one was loaded
	cookie    string    // the response's line that carries the id; "" for none
	logged    error     // the handler's panic with a failure of the session that is in the chain's log; else nil
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
	q := &request{of: s, server: server, r: r, presented: presented{of: s}}
	q.presented.read(r, &server.cookie)
	r.SetCtxVar(requestKey{}, func() *request { return q })
	q.ctx = r.GetNeverDoneCtx()
	q.manager = gsession.New(server.idle, &q.storage)
	q.writer = &writer{ResponseWriter: r.Response.Writer.ResponseWriter, request: q}
	r.Response.Writer.ResponseWriter = q.writer
	q.renew(q.presented.id)
	return q
}

// presents reports whether another request in this one's context names the same session: another one has its own.
func (q *request) presents(r *ghttp.Request) bool {
	other := presented{of: q.of}
	other.read(r, &q.server.cookie)
	return other.first == q.presented.first
}

// renew gives the request a session that has touched nothing yet.
func (q *request) renew(id string) {
	q.read = q.read || q.storage.loaded
	q.storage = storage{q: q}
	q.session = q.manager.New(q.ctx, id)
	q.r.Session = q.session
}

// end commits, once the handler is done. Later code, ghttp's own close included, finds a session
// that has nothing to be closed.
func (q *request) end() {
	var err error
	sent, dropped := q.writer.begun, !q.of.commitOnPanic && panicked(q.r)
	if !dropped && q.writer.refused == 0 {
		err = q.commit()
	}
	if cause, failed := q.r.GetError(), q.storage.failed; panicked(q.r) {
		switch {
		case failed != nil && errors.Is(cause, failed): // which MustGet and the like panic with
			err, q.logged = failed, cause
			q.of.logFailure(q.ctx, err)
		case q.writer.refused != 0 && (errors.Is(cause, errRefused) || errors.Is(cause, http.ErrAbortHandler)): // as httputil.ReverseProxy
			q.logged = cause
		}
	}
	if q.writer.refused != 0 {
		q.r.Response.Status = q.writer.refused
	}
	q.ended = true
	if dropped || q.session.IsDirty() { // what was only read may be read on
		q.renew(q.storage.last())
	}
	switch {
	case sent:
	case err != nil:
		q.of.fail(q.r, err)
	default:
		q.mark() // also at the first byte, as others may change the headers; but it may not come by this writer
	}
}

// leave follows the end, which OnError, Describe or a storage may have left with a panic: nothing more
// is committed then. A middleware around this one takes over again.
func (q *request) leave(outer *request) {
	if !q.ended {
		q.ended = true
		q.renew(q.storage.last())
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
func (q *request) beforeFirstByte() (err error) {
	if !q.ended {
		err = q.commit()
	} else if q.session.IsDirty() {
		// ghttp takes it for a session of its own by now, and has set a cookie of its own.
		dropCookie(q.r.Response.Header(), q.r.Server.GetSessionIdName(), q.cookie)
		err = q.commit()
		q.renew(q.storage.last())
	}
	if err == nil {
		q.mark()
	}
	return err
}

// mark has shared caches keep away from a response that depends on the session. A request without an
// id doesn't show whether it has asked for one: its response is for such requests alone.
func (q *request) mark() {
	read := q.read || q.storage.loaded
	if !read && q.presented.id != "" {
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
		private(header, q.cookie != "")
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

// commit writes what the handler has changed, and sends the id where the client doesn't have it.
func (q *request) commit() error {
	s := &q.storage
	if !s.loaded {
		return nil
	}
	var (
		now     = time.Now()
		cookies = q.byCookie() && !q.writer.closed
	)
	switch {
	case q.session.IsDirty():
		if err := q.session.Close(); err != nil {
			return err
		}
	case s.stored == "":
		return nil
	case cookies && s.due(now), q.of.absolute > 0 && s.record.began == 0:
		// A request that only reads is as good as it was where this doesn't succeed.
		if err := q.session.Remove(); err != nil { // has it be written
			return err
		}
		if q.session.Close() != nil {
			return nil
		}
	default:
		// The chain logs a slide that fails; the next request slides again.
		ttl := s.ttl(now)
		_ = q.of.chain.UpdateTTL(q.ctx, s.stored, ttl)
		s.slides(now, ttl)
		return nil
	}
	q.of.watch.follow(q.until, s.stored, q.server.idle)
	if cookies {
		switch {
		case s.stored == "" && s.left != "":
			q.cookie = q.server.cookie.set(q.r, "", 0)
		case s.stored != "" && (s.stored != q.presented.id || s.record.sent != s.sent):
			q.cookie = q.server.cookie.set(q.r, s.stored, q.server.cookie.lasts(s.ttl(now)))
		}
	}
	return nil
}

// byCookie reports whether the client has the id in a cookie, as far as it has one.
func (q *request) byCookie() bool { return q.of.cookie != nil && !q.presented.byHeader }

// sealed reports whether another id can't reach the client any more.
func (q *request) sealed() bool { return q.byCookie() && q.writer.closed }

// described is a context for what may begin a session.
func (q *request) described(ctx context.Context) context.Context {
	if q.of.users == nil {
		return ctx
	}
	return layer.WithDescription(ctx, q.of.describe(q.r))
}

// load asks the store for the session, unless that is done.
func (q *request) load() error {
	if q.storage.loaded {
		return nil
	}
	if _, err := q.session.Get(recordKey); err != nil {
		return fmt.Errorf("strata: web: the session could not be read: %w", err)
	}
	return nil
}

// exists reports whether there is a session, or will be one after the next commit.
func (q *request) exists() bool {
	if q.storage.stored != "" || q.storage.record.wanted() {
		return true
	}
	size, err := q.session.Size()
	return err == nil && size > 0
}

// change changes the record, and with it the id. So a request that overlaps can't write back the
// record that it had read.
func (q *request) change(logsIn bool, edit func(rec *record, now int64)) error {
	if q.sealed() {
		return errBegun
	}
	id, err := q.session.Id() // loads it, or makes an id
	if err != nil {
		return err
	}
	s := &q.storage
	s.takes(id)
	before, loggedIn := s.record, s.loggedIn
	s.loggedIn = loggedIn || logsIn
	edit(&s.record, time.Now().UnixMilli())
	if s.id == s.stored || s.id == q.presented.id || q.of.signer != nil {
		s.renames = true
		_, err = q.session.RegenerateId(true)
		s.renames = false
	}
	if err != nil {
		s.record, s.loggedIn = before, loggedIn
		return err
	}
	s.endStored = s.stored != "" // also where the handler's own RegenerateId has kept it
	return q.session.Remove()    // of no key: has the session be written
}
