package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Option changes what Sessions does.
type Option func(*sessions)

// OnError is for the response when a request's changes could not be committed and nothing has
// been sent, when a handler has panicked with the error of a session that could not be read, as MustGet
// does, and for the requests that LoggedIn ends. The handler's response has been dropped by then. The
// default writes 409 for layer.ErrRevoked, as the session was ended while the request ran, and for
// layer.ErrLimit, 401 for ErrNotLoggedIn, and 503 for the rest. The log has the error already, one line each ten
// seconds for each kind of it, so that ghttp logs no stack for each request.
func OnError(respond func(r *ghttp.Request, err error)) Option {
	return func(s *sessions) { s.onError = respond }
}

// CommitOnPanic commits what a handler had changed before it panicked. The default is not to. GoFrame turns a
// panic with an error that has a stack into status 500 before web.Sessions sees it: put a middleware that
// replaces the status outside of web.Sessions.
func CommitOnPanic() Option { return func(s *sessions) { s.commitOnPanic = true } }

// AdoptUnknown begins a session under the id that the client has sent, if it is well-formed, as
// GoFrame does. An attacker who can have a visitor send an id of his choice knows it then, until
// the visitor logs in. The default is to begin it under a new id.
func AdoptUnknown() Option { return func(s *sessions) { s.adopt = true } }

// Signed has ids carry the moment at which the session began and an HMAC-SHA256, so that
// made-up ids cost no read of the store and Absolute costs none. Keys have 32 bytes at least. The
// first one signs; the others are accepted, so that keys can be rotated: add the new one at the end on
// every node, move it to the front everywhere, then drop the old one once sessions of it have
// ended. Ids that aren't signed, as those from before this option, are taken for malformed.
func Signed(keys ...[]byte) Option {
	return func(s *sessions) {
		s.signer = &signer{}
		for _, key := range keys {
			s.signer.add(key)
		}
	}
}

// Idle ends a session that no request has read or changed for so long. The default is the server's
// SessionMaxAge. A session may live on for a tenth more where the chain slides expiries rarely
// (layer.Coalesced).
func Idle(d time.Duration) Option { return func(s *sessions) { s.idle = d } }

// Absolute ends a session so long after it began, that is after the log-in, whatever happens. The
// default is 0, for no such limit; OWASP's ASVS asks for one (7.3.2).
func Absolute(d time.Duration) Option { return func(s *sessions) { s.absolute = d } }

// Bearer takes the id from the header Authorization, scheme Bearer. The log of the chain (layer.Logger) has one
// warning if ids come over a network without TLS. No cookie is read or
// set then, unless Cookie is given as well. A handler hands the id to the client itself, see Token.
func Bearer() Option { return func(s *sessions) { s.header = "Authorization"; s.bearer = true } }

// Header is Bearer with a header of another name, whose value is the id alone.
func Header(name string) Option {
	if (&http.Cookie{Name: name}).Valid() != nil { // a header's name has the same characters
		panic(fmt.Sprintf("strata: web.Header can't be %q; give it the name of a header, such as X-Session", name))
	}
	return func(s *sessions) { s.header = http.CanonicalHeaderKey(name); s.bearer = false }
}

// TrustedOrigins are other sites, such as https://accounts.example.com, whose pages may send a
// log-in. The default is none.
func TrustedOrigins(origins ...string) Option {
	return func(s *sessions) {
		for _, origin := range origins {
			if err := s.cross.AddTrustedOrigin(origin); err != nil {
				panic("strata: web.TrustedOrigins: " + err.Error())
			}
		}
	}
}

// sessions is a middleware. Its fields are set by Sessions; servers, expiries, moves, watch, warned and log
// guard themselves.
//
// Lock order: a move's RWMutex, which is held over a commit; the locks of the chain and of its
// source; watch.mu. moves.mu and watch.mu are held while no other lock is taken.
type sessions struct {
	chain         *layer.Stack
	top           tiers.Storage
	onError       func(*ghttp.Request, error)
	commitOnPanic bool
	adopt         bool
	signer        *signer
	idle          time.Duration // 0 for the server's SessionMaxAge
	absolute      time.Duration
	header        string // "" for no header
	bearer        bool
	cookie        *CookieOptions // nil for none
	cross         http.CrossOriginProtection
	describe      func(*ghttp.Request) map[string]string
	users         *layer.Users // nil without layer.Indexed
	expiries      *expiries
	servers       sync.Map // *ghttp.Server to *settings
	moves         moves
	watch         watch
	warned        atomic.Bool // of ids without TLS
	log           telemetry.Reporter
}

// Sessions is the middleware that gives handlers their r.Session from the chain: for all routes
// with server.Use, or for a group. Any gsession.Storage does in place of a chain: layer.Chain(storage, layer.Snapshots())
// is made of it. It panics where an option makes no sense, as that is a mistake in the program.
func Sessions(chain gsession.Storage, opts ...Option) ghttp.HandlerFunc {
	stack, ok := chain.(*layer.Stack)
	if !ok || stack == nil {
		stack = layer.Chain(chain, layer.Snapshots()) // panics where there is none
	}
	s := &sessions{chain: stack, top: sessionmap.Adapt(stack.Unwrap()), onError: respond, describe: Described, expiries: newExpiries()}
	if _, ok := layer.As[*index.Storage](stack); ok {
		s.users = layer.Principals(stack)
	}
	sink := telemetry.Standard()
	if traced, ok := layer.As[interface{ Sink() *telemetry.Sink }](stack); ok && traced.Sink() != nil {
		sink = traced.Sink()
	}
	s.log.Move(sink, nil)
	for _, opt := range opts {
		opt(s)
	}
	s.watch.begin(s)
	if s.header == "" && s.cookie == nil {
		s.cookie = &CookieOptions{}
	}
	if err := s.check(); err != nil {
		panic("strata: " + err.Error())
	}
	return s.serve
}

func (s *sessions) check() error {
	switch {
	case s.onError == nil:
		return fmt.Errorf("web.OnError needs a func; leave it out for the default")
	case s.describe == nil:
		return fmt.Errorf("web.Describe needs a func; leave it out for the default, or return nil to keep nothing")
	case s.idle < 0 || s.idle > longest:
		return fmt.Errorf("web.Idle needs a time above 0, up to 100 years, not %v; leave it out for the server's SessionMaxAge", s.idle)
	case s.absolute < 0 || s.absolute > longest:
		return fmt.Errorf("web.Absolute needs a time above 0, up to 100 years, not %v; leave it out for no limit", s.absolute)
	case s.header == "Cookie":
		return fmt.Errorf("web.Header can't be Cookie; use web.Cookie")
	}
	if s.signer != nil {
		if len(s.signer.keys) == 0 {
			return fmt.Errorf("web.Signed needs a key of 32 bytes or more, from crypto/rand")
		}
		for n, key := range s.signer.keys {
			if key.length < 32 {
				return fmt.Errorf("key %d of web.Signed has %d bytes; take 32 or more, from crypto/rand", n+1, key.length)
			}
		}
	}
	if s.cookie != nil {
		return s.cookie.check()
	}
	return nil
}

// serve is the middleware.
func (s *sessions) serve(r *ghttp.Request) {
	outer := requestOf(r)
	switch {
	case outer == nil || outer.of != s:
	case outer.r == r:
		r.Middleware.Next()
		return
	case outer.presents(r): // its handler has forwarded it by ServeHTTP
		own := r.Session
		r.Session = outer.session
		defer func() { r.Session = own }()
		if r.Middleware.Next(); !s.commitOnPanic && panicked(r) {
			outer.renew(outer.storage.last())
		}
		return
	}
	server, err := s.settingsOf(r.Server)
	if err == nil && outer == nil && r.Session.IsDirty() {
		err = errLate
	}
	if err != nil {
		r.SetError(err) // ghttp logs it
		r.Response.WriteStatus(http.StatusInternalServerError)
		return
	}
	q := newRequest(s, r, server)
	defer q.leave(outer)
	r.Middleware.Next()
	q.end()
}

// settingsOf reads a server's configuration at its first request.
func (s *sessions) settingsOf(server *ghttp.Server) (*settings, error) {
	known, ok := s.servers.Load(server)
	if !ok {
		known, _ = s.servers.LoadOrStore(server, newSettings(s, server))
	}
	is := known.(*settings)
	return is, is.err
}

// read reports whether a request can bring the id, and what a signed one says of itself.
func (s *sessions) read(id string) (claimed record, ok bool) {
	if s.signer == nil {
		return record{}, wellFormed(id)
	}
	return s.signer.read(id)
}

// newID makes an id for the session with the record.
func (s *sessions) newID(r record) string {
	if s.signer == nil {
		return sessionmap.NewID()
	}
	began := time.Now()
	if r.began > 0 {
		began = time.UnixMilli(r.began)
	}
	return s.signer.newID(began, time.Duration(r.absolute)*time.Millisecond)
}

var errKeys = tiers.NewError("strata: web: the chain has calls for single keys, as over RedisHashTable, and a session has to be read and written whole; put layer.Snapshots() first among its decorators", nil)

// checkWhole returns an error if the chain has calls for single keys, or if that isn't known as the store is away: two such
// calls of one commit may come before and after a log-out.
func (s *sessions) checkWhole(ctx context.Context) error {
	style, err := tiers.StyleOf(ctx, s.top)
	if err == nil && style != tiers.StyleSnapshot {
		err = errKeys
	}
	return err
}

// logFailure logs what the chain leaves to its caller.
func (s *sessions) logFailure(ctx context.Context, err error) {
	const message = "strata: web: a session could not be read or written"
	s.log.Warn(ctx, message+failure.ErrorType(err), message, slog.String("error", failure.Explain(err)))
}

// remove ends a session for a reason, which is "" where it goes on under another id.
func (s *sessions) remove(ctx context.Context, id string, reason layer.Reason) error {
	if s.users != nil {
		ctx = layer.WithReason(ctx, reason)
	}
	if err := s.chain.RemoveAll(ctx, id); err != nil {
		return err
	}
	s.expiries.forget(id)
	s.watch.changed(id)
	return nil
}

// logOut ends a session, also under the ids that other requests have given it meanwhile. A change of id leaves its note
// before it looks whether the session is still there: either it finds that the session has ended, or the log-out finds
// the note.
func (s *sessions) logOut(ctx context.Context, id string) (err error) {
	for n := 0; n < mostMoves && id != "" && err == nil; n++ {
		if err = s.remove(ctx, id, layer.ReasonLoggedOut); err == nil {
			id, err = s.watch.forward(ctx, id)
		}
	}
	return err
}

const mostMoves = 8 // of one session, while it is logged out

// reasonOf is why the session with the id isn't there. The index knows better than this node. That it knows
// nothing doesn't show that the session was idle: an id that was left for another one has no reason, and a
// reason is forgotten in time.
func (s *sessions) reasonOf(ctx context.Context, id string) layer.Reason {
	if s.users != nil {
		if reason, err := s.users.Reason(ctx, id); err != nil || reason != "" {
			s.expiries.forget(id)
			return reason
		}
	}
	return s.expiries.reason(id, time.Now())
}

// fail drops the handler's response for that of OnError.
func (s *sessions) fail(r *ghttp.Request, err error) {
	header := r.Response.Header()
	for _, name := range []string{
		"Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Content-Disposition",
		"Etag", "Last-Modified", "Location", "Expires",
	} {
		header.Del(name)
	}
	header.Set("Cache-Control", "no-store")
	r.Response.ClearBuffer()
	r.Response.Status = http.StatusServiceUnavailable
	s.onError(r, err)
}

// respond is the default of OnError.
func respond(r *ghttp.Request, err error) {
	switch {
	case errors.Is(err, ErrNotLoggedIn):
		r.Response.WriteStatus(http.StatusUnauthorized, "Log in first.")
	case errors.Is(err, layer.ErrRevoked):
		r.Response.WriteStatus(http.StatusConflict, "The session was ended while this request ran.")
	case errors.Is(err, layer.ErrLimit):
		r.Response.WriteStatus(http.StatusConflict, "This user has as many sessions as are allowed. End one of them first.")
	default:
		r.Response.WriteStatus(http.StatusServiceUnavailable, "The session could not be read or saved. Try again.")
	}
}
