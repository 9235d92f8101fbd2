// Package web gives the handlers of ghttp, GoFrame's server, the sessions of a chain, with safe ids and cookies, log-in
// and log-out. One line in place of SetSessionStorage, and handlers go on with r.Session:
//
//	server.Use(web.Sessions(chain))               // the id in a cookie
//	server.Use(web.Sessions(chain, web.Bearer())) // in Authorization: Bearer, no cookie
//
// # What it promises
//
//   - A request's changes are committed before the first byte of its response leaves, in a
//     context that has the server's span and doesn't end with the client. A response that is
//     flushed, streamed, hijacked or upgraded commits before that, and once more at its end. Where
//     the commit fails and nothing has been sent, the client gets 503, or 409 for
//     layer.ErrRevoked and layer.ErrLimit ([OnError]).
//   - After a handler's panic nothing of it is committed, except what it had sent on its way
//     ([CommitOnPanic]). A panic with the error of a session that can't be read, as MustGet's, gets 503 as well, and no
//     stack in the log.
//   - A request that a handler forwards by ServeHTTP in its own context has the session of its own, if it brings the same
//     id: one at a time, and a panic there has nothing committed of either.
//   - Sessions are read and written whole. Over a direct store (RedisHashTable) the chain needs layer.Snapshots as its first
//     decorator; without it requests that use their session get 503, and the log says so.
//   - Ids have 128 random bits. One that is malformed reaches no store, and an unknown one isn't
//     adopted: the first write begins a session under a new one ([AdoptUnknown]).
//   - A log-in ([Login]) and a log-out ([Logout]) change the id and end the old one on every
//     node. A change of what this package keeps of a session changes its id as well, so that an
//     overlapping request can't write back what it had read.
//   - A session ends after [Idle] without a request, and after [Absolute] whatever happens.
//   - After a session has ended, [Reason] says why to the next request. [Handle] says which of the listed
//     sessions is the visitor's own.
//   - A WebSocket, a stream or a long job ends with its session, and at a log-in, on every node ([Until]).
//   - On a route without the middleware nobody is logged in: what changes a session, and [Handle], return an error,
//     [LoggedIn] panics, and the context of Until has ended.
//   - The cookie is HttpOnly, SameSite=Lax, and Secure over TLS, with the prefix __Host- or, where it has a
//     domain or another path, __Secure-. It is sent anew when a tenth of its life is over. A response
//     that sends it, or has read the session, isn't for shared caches.
//
// # What it keeps in the session
//
// One key, strata.web, holds when the session began, whose it is, when that was proved, its own limits
// and when the cookie was sent. It is merged, carried to another id and stored like any other;
// nodes without this package pass it on. Handlers don't see it, and can't change it.
//
// A session that takes another id leaves a note of it under the old one, for two minutes: with it Until goes
// on on other nodes, and a log-out by the old id ends the session. A log-in leaves none. The key of a note
// is no valid id, so that no client can ask for it.
//
// # Settings of the server
//
// SetSessionIdName names the cookie, and SetSessionMaxAge is the default of Idle. SetSessionCookieMaxAge(0)
// has the cookie end with the browser; with any other value it lives as long as the session. SetCookieDomain,
// SetCookiePath and the settings cookieSameSite and cookieSecure are defaults of [Cookie]. A setting that
// can't be honoured is refused: all requests get 500, and the log says what to do instead. SetSessionStorage
// is for the routes without this middleware.
//
// Put Sessions before whatever uses r.Session. Static files begin no session, as ghttp serves them
// without middlewares.
package web
