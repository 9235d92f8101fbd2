package web

import (
	"errors"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/internal/principals"
)

var (
	errOutside   = errors.New("strata: web: this route has no web.Sessions; add the middleware to it")
	errLoggedOut = errors.New("strata: web: no principal is logged in; call Login first")
	errBegun     = errors.New("strata: web: the response has begun, so that the cookie with a new id can't be sent; begin the session, or change its id, before Flush")
	errOwnID     = errors.New("strata: web: no request can bring the id that SetId or SetIdFunc has given, or the session has it already, or it was logged out; take 16 to 128 letters, digits, - and _, and leave both out where ids are Signed")
	errLimits    = errors.New("strata: web: SetLimits needs times of 0 or more, up to 100 years; 0 is for the middleware's")
)

// ErrCrossSite is Login's for a request that another site's page has made, by POST or any other
// method that changes something: it would log a visitor in as another user, without his knowing.
var ErrCrossSite = errors.New("strata: web: another site's page has sent this log-in; nothing was changed")

// Login says that the principal, of 1 to 1,024 bytes of UTF-8, has proved who it is. The session gets a new id, keeps its
// data, and begins anew with the middleware's limits, whatever SetLimits has said before. The old id is ended on every
// node, with what runs under it: such requests are refused with layer.ErrRevoked, and what [Until] has returned to them
// ends. All of it is part of the request's commit. Login returns an error, and changes nothing, for a principal of another
// length or encoding, where the session can't be read, and once the response has begun, as by Flush.
//
// If the session has ended meanwhile, as by the first log-in of a double click or by a log-out, the log-in begins a session of
// its own, of what its request has set.
//
// Where the id travels in a cookie, a request of another site's page is refused with ErrCrossSite,
// unless TrustedOrigins names the site.
func Login(r *ghttp.Request, principal string) error {
	q := requestOf(r)
	if q == nil {
		return errOutside
	}
	if err := principals.Check(principal); err != nil {
		return err
	}
	if q.byCookie() && q.of.cross.Check(r.Request) != nil {
		return ErrCrossSite
	}
	return q.change(true, func(rec *record, now int64) {
		*rec = record{began: now, proved: now, principal: principal}
	})
}

// Reauthenticated says that the principal has proved again who it is. The session gets a new id, and
// the old one is ended, as by Login; it doesn't begin anew. It returns an error if nobody is logged in.
func Reauthenticated(r *ghttp.Request) error {
	q := requestOf(r)
	if q == nil {
		return errOutside
	}
	if err := q.load(); err != nil {
		return err
	}
	if q.storage.record.principal == "" {
		return errLoggedOut
	}
	return q.change(false, func(rec *record, now int64) { rec.proved = now })
}

// SetLimits gives this session limits of its own until the next log-in, as for "remember me", of 100 years at most; 0 is the
// middleware's. Call it after Login. The session gets a new id, and the old one is ended, as by Login, unless Login was
// called in the same request. StorageFile doesn't know limits of one session, and ends those that are longer.
func SetLimits(r *ghttp.Request, idle, absolute time.Duration) error {
	q := requestOf(r)
	switch {
	case q == nil:
		return errOutside
	case idle < 0 || absolute < 0 || max(idle, absolute) > longest:
		return errLimits
	}
	return q.change(false, func(rec *record, _ int64) {
		rec.idle, rec.absolute = up(idle), up(absolute)
	})
}

// up is a span in milliseconds, of one at least where there is one.
func up(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// Logout ends the session on every node, with what runs under it unless that is a log-in, and has the browser drop the
// cookie. Later writes of the handler are in a new session.
func Logout(r *ghttp.Request) error {
	q := requestOf(r)
	if q == nil {
		return errOutside
	}
	return q.session.RemoveAll()
}

// ErrNotLoggedIn is what OnError gets from LoggedIn for a request without a principal.
var ErrNotLoggedIn = errors.New("strata: web: no principal is logged in")

// LoggedIn is a middleware, inside of Sessions, for routes that need a principal. A request without one ends with
// ErrNotLoggedIn, and one whose session can't be read with the store's error, as its user may be logged in: OnError
// responds, by default with 401 and 503.
//
//	group.Middleware(web.Sessions(chain), web.LoggedIn)
func LoggedIn(r *ghttp.Request) {
	q := requestOf(r)
	if q == nil {
		panic(errOutside)
	}
	switch err := q.load(); {
	case err != nil:
		q.of.logFailure(q.ctx, err)
		q.of.fail(r, err)
	case q.storage.record.principal == "":
		q.of.fail(r, ErrNotLoggedIn)
	default:
		r.Middleware.Next()
	}
}

// Principal is who is logged in, "" for none, or where the session can't be read, which LoggedIn distinguishes.
func Principal(r *ghttp.Request) string {
	q := requestOf(r)
	if q == nil || q.load() != nil {
		return ""
	}
	return q.storage.record.principal
}

// Fresh reports whether the principal has proved within so long who it is: at Login or at
// Reauthenticated. It is for what needs a recent password. Where the session can't be read it
// isn't fresh.
func Fresh(r *ghttp.Request, within time.Duration) bool {
	q := requestOf(r)
	if q == nil || q.load() != nil || q.storage.record.principal == "" {
		return false
	}
	age := time.Since(time.UnixMilli(q.storage.record.proved))
	return age <= within && age > -time.Minute // another node's clock may be ahead
}

// Token is the session's id, to be handed to the client by a handler where Bearer or Header is used:
// as good as a password. It is "" where there is no session, and that of the new one after Login.
func Token(r *ghttp.Request) string {
	q := requestOf(r)
	if q == nil || q.load() != nil || !q.exists() {
		return ""
	}
	return q.storage.id
}
