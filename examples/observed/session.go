package main

import (
	"errors"
	"net/http"
	"regexp"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// ids are those that GoFrame makes. Any other gives way to a new one.
var ids = regexp.MustCompile(`^[0-9a-z]{32}$`)

// withSession is a middleware that gives requests a session of the manager's in place of
// ghttp's own. That asks the store in a context from before the server's span, which also
// ends as the client goes away. Here the context has the span, so that the spans of the
// session stand below it, and it doesn't end: the request can finish what it has begun.
func withSession(manager *gsession.Manager) ghttp.HandlerFunc {
	return func(r *ghttp.Request) {
		id := r.GetSessionId()
		if !ids.MatchString(id) {
			id = ""
		}
		ctx := r.GetNeverDoneCtx()
		r.Session = manager.New(ctx, id)
		r.Middleware.Next()
		closeSession(r)
		if !r.Session.IsDirty() {
			// GoFrame closes a session again after the response, which costs nothing where it was
			// written, and takes the new cookie's id from it. Where it was only read, the expiry would
			// be slid again, in a span behind the request's; this one has nothing to close.
			r.Session = manager.New(ctx, id)
		}
	}
}

// closeSession closes the session before the response is sent: the next request then finds
// what this one has set, and the visitor hears where it isn't saved.
func closeSession(r *ghttp.Request) {
	if r.GetError() != nil && r.Response.Status == http.StatusInternalServerError {
		// A panic, whose text isn't for visitors.
		r.Response.ClearBuffer()
		r.Response.WriteStatus(http.StatusInternalServerError)
	}
	if err := r.Session.Close(); err != nil {
		r.Response.ClearBuffer()
		fail(r, err)
	}
}

func fail(r *ghttp.Request, err error) {
	if errors.Is(err, layer.ErrRevoked) {
		r.Response.WriteStatus(http.StatusConflict, "You have logged out meanwhile.")
		return
	}
	if r.Context().Err() == nil {
		r.SetError(err) // ghttp logs it, and the server's span shows it
	}
	r.Response.WriteStatus(http.StatusServiceUnavailable, "The shop can't reach its sessions. Try again.")
}
