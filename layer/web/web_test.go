package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

const (
	deadline = time.Minute // for whatever a busy machine takes
	life     = time.Hour
)

func TestMain(m *testing.M) {
	principals.FindTimeout, principals.EndTimeout, principals.CallTimeout = deadline, deadline, deadline
	os.Exit(m.Run())
}

// site is a ghttp server of a test, over a store that counts.
type site struct {
	t      testing.TB
	base   string
	store  *counted
	chain  *layer.Stack
	server *ghttp.Server
	tls    *tls.Config // of clients

	once   sync.Once
	anyone *client // of bare
}

// counted is a store that counts what reaches it, and refuses writes with the error broken. mu guards the other fields.
type counted struct {
	gsession.Storage
	mu            sync.Mutex
	reads, writes int
	longest       int // of the ids
	broken        error
}

func (c *counted) count(reads, writes int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads += reads
	c.writes += writes
	return c.broken
}

func (c *counted) asked(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest = max(c.longest, len(id))
}

func (c *counted) longestID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.longest
}

func (c *counted) breaks(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

func (c *counted) counts() (reads, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads, c.writes
}

func (c *counted) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	_ = c.count(1, 0)
	c.asked(id)
	return c.Storage.GetSession(ctx, id, ttl)
}

func (c *counted) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	c.asked(id)
	if err := c.count(0, 1); err != nil {
		return err
	}
	return c.Storage.SetSession(ctx, id, data, ttl)
}

// serve runs a server whose routes the test binds.
func serve(t testing.TB, routes func(*ghttp.Server, *layer.Stack)) *site {
	t.Helper()
	return serveOn(t, gsession.NewStorageMemory(), routes)
}

func serveOn(t testing.TB, storage gsession.Storage, routes func(*ghttp.Server, *layer.Stack)) *site {
	t.Helper()
	store := &counted{Storage: storage}
	// Memory is small, as ristretto clears its counters one by one when it is closed, which the race detector makes slow.
	chain := layer.Chain(store, layer.Snapshots(), layer.Local(layer.LoadTimeout(deadline), layer.MaxBytes(4<<20)))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	s := serveChain(t, chain, routes)
	s.store = store
	return s
}

// servers counts them, as ghttp knows each by a name of its own.
var servers atomic.Int64

func serveChain(t testing.TB, chain *layer.Stack, routes func(*ghttp.Server, *layer.Stack)) *site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := ghttp.GetServer(fmt.Sprint(t.Name(), servers.Add(1)))
	if err := server.SetConfigWithMap(map[string]any{"dumpRouterMap": false, "accessLogEnabled": false, "errorLogEnabled": false}); err != nil {
		t.Fatal(err)
	}
	if err := server.SetListener(listener); err != nil {
		t.Fatal(err)
	}
	server.Logger().SetStdoutPrint(false)
	server.SetSessionMaxAge(life)
	server.SetSessionStorage(gsession.NewStorageMemory()) // for routes without the middleware
	routes(server, chain)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown() })
	return &site{t: t, base: "http://" + listener.Addr().String(), chain: chain, server: server}
}

// standard binds what most tests ask for.
func standard(opts ...web.Option) func(*ghttp.Server, *layer.Stack) {
	return func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(web.Sessions(chain, opts...))
		handlers(server)
	}
}

func handlers(server *ghttp.Server) {
	server.BindHandler("/get", func(r *ghttp.Request) {
		value, err := r.Session.Get("k")
		if err != nil {
			r.Response.WriteStatus(http.StatusBadGateway)
			return
		}
		r.Response.Write(value.String())
	})
	server.BindHandler("/set", func(r *ghttp.Request) {
		r.Session.MustSet("k", r.GetQuery("v", "v").String())
		r.Response.Write("set")
	})
	server.BindHandler("/add", func(r *ghttp.Request) {
		r.Session.MustSet(r.GetQuery("k").String(), "v")
		r.Response.Write("added")
	})
	server.BindHandler("/login", func(r *ghttp.Request) {
		if err := web.Login(r, "ann"); err != nil {
			r.Response.WriteStatus(http.StatusForbidden, err)
			return
		}
		r.Response.Write(web.Token(r))
	})
	server.BindHandler("/renew", func(r *ghttp.Request) { r.Session.MustRegenerateId(r.GetQuery("keep").String() == "") })
	server.BindHandler("/prove", func(r *ghttp.Request) {
		if web.Reauthenticated(r) != nil || web.SetLimits(r, 2*life, 0) != nil {
			r.Response.WriteStatus(http.StatusForbidden)
		}
	})
	server.BindHandler("/logout", func(r *ghttp.Request) {
		if err := web.Logout(r); err != nil {
			r.Response.WriteStatus(http.StatusBadGateway)
		}
	})
	server.BindHandler("/who", func(r *ghttp.Request) { r.Response.Write(web.Principal(r), ";", r.Session.MustData()) })
}

// client is a browser of a site.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func (s *site) client() *client {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: s.t, base: s.base, http: &http.Client{Jar: jar, Transport: transport, Timeout: deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	status int
	body   string
	header http.Header
	cookie *http.Cookie
}

// do sends a request with headers in pairs.
func (c *client) do(method, path string, headers ...string) answer {
	c.t.Helper()
	r, err := http.NewRequest(method, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		r.Header.Add(headers[n], headers[n+1])
	}
	got, err := c.http.Do(r)
	if err != nil {
		c.t.Error(err)
		return answer{header: http.Header{}}
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		c.t.Error(err)
	}
	a := answer{status: got.StatusCode, body: string(body), header: got.Header}
	if cookies := got.Cookies(); len(cookies) > 0 {
		a.cookie = cookies[len(cookies)-1]
		if len(cookies) > 1 {
			c.t.Errorf("%s set %d cookies", path, len(cookies))
		}
	}
	return a
}

func (c *client) get(path string, headers ...string) answer {
	c.t.Helper()
	return c.do(http.MethodGet, path, headers...)
}

func (c *client) want(path, body string, headers ...string) answer {
	c.t.Helper()
	a := c.get(path, headers...)
	if a.status != http.StatusOK || a.body != body {
		c.t.Errorf("%s returned %d %q, want %q", path, a.status, a.body, body)
	}
	return a
}

func (c *client) status(path string, status int, headers ...string) answer {
	c.t.Helper()
	a := c.get(path, headers...)
	if a.status != status {
		c.t.Errorf("%s returned %d %q, want %d", path, a.status, a.body, status)
	}
	return a
}

// bare sends one request without cookies of its own.
func (s *site) bare(path string, headers ...string) answer {
	s.t.Helper()
	s.once.Do(func() {
		s.anyone = s.client()
		s.anyone.http.Jar = nil
	})
	return s.anyone.get(path, headers...)
}

const cookieName = "gfsessionid"

func sends(id string) string { return cookieName + "=" + id }

func TestARequestSeesWhatTheOneBeforeHasSet(t *testing.T) {
	s := serve(t, standard())
	c := s.client()
	c.want("/get", "")
	a := c.want("/set", "set")
	if a.cookie == nil || !a.cookie.HttpOnly || a.cookie.SameSite != http.SameSiteLaxMode || a.cookie.Path != "/" ||
		a.cookie.Name != cookieName || a.cookie.Secure || a.cookie.MaxAge != int(life.Seconds()) || len(a.cookie.Value) != 22 {
		t.Errorf("the cookie is %+v", a.cookie)
	}
	if a.header.Get("Vary") != "Cookie" || a.header.Get("Cache-Control") != "private" {
		t.Errorf("shared caches may keep it: %v", a.header)
	}
	if a = c.want("/get", "v"); a.cookie != nil {
		t.Error("the cookie is sent with each response")
	}
	// The next requests come on seeing the last byte, on one connection and on others.
	for n := range 100 {
		value := fmt.Sprint(n)
		c.want("/set?v="+value, "set")
		c.want("/get", value)
	}
	if _, writes := s.store.counts(); writes != 101 {
		t.Errorf("101 changes made %d writes", writes)
	}
}

func TestReadingWritesNothing(t *testing.T) {
	s := serve(t, standard())
	c := s.client()
	for range 3 {
		c.want("/get", "")
	}
	if reads, writes := s.store.counts(); reads != 0 || writes != 0 {
		t.Errorf("requests without an id made %d reads and %d writes", reads, writes)
	}
	c.want("/set", "set")
	for range 10 {
		c.want("/get", "v")
	}
	if _, writes := s.store.counts(); writes != 1 {
		t.Errorf("one change and ten reads made %d writes", writes)
	}
}

// A slow connection of its own shows what has been committed when the first byte comes.
func TestStreamsCommitBeforeTheFirstByteAndAtTheEnd(t *testing.T) {
	goOn := make(chan struct{})
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/stream", func(r *ghttp.Request) {
			r.Response.Header().Set("Content-Type", "text/event-stream")
			r.Session.MustSet("k", "first")
			r.Response.Write("data: 1\n\n")
			r.Response.Flush()
			<-goOn
			r.Session.MustSet("k", "second")
			r.Response.Write("data: 2\n\n")
		})
		server.BindHandler("/file", func(r *ghttp.Request) {
			r.Session.MustSet("k", "file")
			r.Response.ServeContent("x.txt", time.Time{}, strings.NewReader("content"))
		})
		server.BindHandler("/raw", func(r *ghttp.Request) {
			r.Session.MustSet("k", "raw")
			_, _ = r.Response.RawWriter().Write([]byte("raw"))
			r.Response.Writer.Flush()
			<-goOn
		})
	})
	c := s.client()
	got, err := c.http.Get(s.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	lines := bufio.NewReader(got.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if len(got.Cookies()) != 1 {
		t.Error("the stream brought no cookie")
	}
	c.want("/get", "first")
	goOn <- struct{}{}
	if _, err = io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	c.want("/get", "second")
	c.want("/file", "content")
	c.want("/get", "file")
	if got, err = c.http.Get(s.base + "/raw"); err != nil {
		t.Fatal(err)
	}
	c.want("/get", "raw")
	goOn <- struct{}{}
	_ = got.Body.Close()
}

func TestWebSocketsCommitBeforeTheUpgradeAndAtTheEnd(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/ws", func(r *ghttp.Request) {
			r.Session.MustSet("k", "upgraded")
			conn, err := r.WebSocket() //lint:ignore SA1019 what programs call
			if err != nil {
				return
			}
			defer conn.Close()
			_, text, err := conn.ReadMessage()
			if err != nil {
				t.Error(err)
			}
			r.Session.MustSet("k", string(text))
		})
	})
	c := s.client()
	cookie := c.want("/set", "set").cookie
	dial := func() (net.Conn, *http.Response) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(deadline))
		_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nCookie: "+sends(cookie.Value)+"\r\n\r\n")
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, got
	}
	conn, got := dial()
	defer conn.Close()
	if got.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(got.Status)
	}
	c.want("/get", "upgraded")
	// A text frame of five bytes, masked with zeros.
	if _, err := conn.Write([]byte("\x81\x85\x00\x00\x00\x00later")); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "what the socket changed last is there", func() bool { return c.get("/get").body == "later" })
	// A session that would begin with the upgrade would have an id that the client never gets: it begins with the error.
	cookie = &http.Cookie{}
	conn, got = dial()
	defer conn.Close()
	if got.StatusCode == http.StatusSwitchingProtocols || len(got.Cookies()) != 1 {
		t.Fatalf("an upgrade without a session returned %s, %v", got.Status, got.Cookies())
	}
	cookie = got.Cookies()[0]
	if body := s.bare("/get", "Cookie", sends(cookie.Value)).body; body != "upgraded" {
		t.Errorf("the session has %q", body)
	}
	s.store.breaks(errors.New("away"))
	conn, got = dial()
	defer conn.Close()
	if got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an upgrade whose commit failed returned %s", got.Status)
	}
}

// A user isn't sent to the log-in because the store is away.
func TestLoggedInDistinguishesAVisitorFromAStoreThatIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		opts               []web.Option
		visitor, unreached int
	}{
		"default": {nil, http.StatusUnauthorized, http.StatusServiceUnavailable},
		"own": {[]web.Option{web.OnError(func(r *ghttp.Request, err error) {
			r.Response.WriteStatus(map[bool]int{true: http.StatusPaymentRequired, false: http.StatusTeapot}[errors.Is(err, web.ErrNotLoggedIn)])
		})}, http.StatusPaymentRequired, http.StatusTeapot},
	} {
		t.Run(name, func(t *testing.T) {
			store := &teststore.Unread{Storage: gsession.NewStorageMemory()}
			s := serveChain(t, layer.Chain(store), func(server *ghttp.Server, chain *layer.Stack) {
				server.Group("/", func(group *ghttp.RouterGroup) {
					group.Middleware(web.Sessions(chain, c.opts...))
					group.ALL("/login", func(r *ghttp.Request) {
						if err := web.Login(r, "ann"); err != nil {
							t.Error(err)
						}
					})
					group.ALL("/prove", func(r *ghttp.Request) {
						if err := web.Reauthenticated(r); err != nil {
							panic(err)
						}
					})
					group.Middleware(web.LoggedIn)
					group.ALL("/inside", func(r *ghttp.Request) { r.Response.Write(web.Principal(r)) })
				})
			})
			visitor, ann := s.client(), s.client()
			ann.want("/login", "")
			visitor.status("/inside", c.visitor)
			ann.want("/inside", "ann")
			store.Away.Store(true)
			ann.status("/inside", c.unreached)
			ann.status("/prove", c.unreached)
			store.Away.Store(false)
			ann.want("/inside", "ann")
		})
	}
}

// unreachable is a direct store whose sessions can't be read while away is set, and can't be written while full is. With
// mixed it has no calls for whole sessions.
type unreachable struct {
	*teststore.Keys
	away, full atomic.Bool
}

var errAway = errors.New("away")

func (u *unreachable) Data(ctx context.Context, id string) (map[string]any, error) {
	if u.away.Load() {
		return nil, errAway
	}
	return u.Keys.Data(ctx, id)
}

func (u *unreachable) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if u.full.Load() {
		return errAway
	}
	return u.Keys.SetMap(ctx, id, data, ttl)
}

// A direct store's sessions are read and written whole: what a handler changed before it panicked isn't there, nor what the
// store refuses, which is logged.
func TestADirectStoreIsUsedAsOneOfWholeSessions(t *testing.T) {
	var said said
	store := &unreachable{Keys: teststore.NewKeys(nil)}
	chain := layer.Chain(store, layer.Snapshots(), layer.Indexed(nil), layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
	s := serveChain(t, chain, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/panic", func(r *ghttp.Request) {
			r.Session.MustSet("k", "panicked")
			panic("after a change")
		})
	})
	c := s.client()
	c.want("/set", "set")
	c.status("/login", http.StatusOK)
	c.status("/panic", http.StatusInternalServerError)
	c.want("/who", `ann;{"k":"v"}`)
	store.full.Store(true)
	for range 3 {
		c.status("/set?v=w", http.StatusServiceUnavailable)
	}
	store.full.Store(false)
	c.want("/who", `ann;{"k":"v"}`)
	if err := chain.Close(context.Background()); err != nil { // has all lines written
		t.Fatal(err)
	}
	if lines := strings.Count(said.String(), "level=WARN"); lines != 1 || strings.Contains(said.String(), s.cookieOf(c)) {
		t.Errorf("three failures said %d lines: %s", lines, said.String())
	}
}

// The middleware makes a chain of whole sessions where it is given a direct store alone. It refuses a chain that
// writes key by key, and the log says what to do.
func TestAChainThatWritesKeyByKeyIsRefused(t *testing.T) {
	alone := serveChain(t, nil, func(server *ghttp.Server, _ *layer.Stack) {
		server.Use(web.Sessions(teststore.NewKeys(nil)))
		handlers(server)
	}).client()
	alone.want("/set", "set")
	alone.status("/login", http.StatusOK)
	alone.want("/who", `ann;{"k":"v"}`)
	var said said
	chain := layer.Chain(teststore.NewKeys(nil), layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
	s := serveChain(t, chain, standard())
	for _, path := range []string{"/set", "/login", "/who"} {
		for _, cookie := range []string{sends(sessionmap.NewID()), ""} {
			if a := s.bare(path, "Cookie", cookie); (path != "/who" || cookie != "") && a.status < 400 || a.cookie != nil {
				t.Errorf("%s returned %d, %v", path, a.status, a.cookie)
			}
		}
	}
	if err := chain.Close(context.Background()); err != nil { // has all lines written
		t.Fatal(err)
	}
	if lines := strings.Count(said.String(), "level=WARN"); lines != 1 || !strings.Contains(said.String(), "layer.Snapshots()") {
		t.Errorf("the refusals said %d lines: %s", lines, said.String())
	}
}

// starting is a store of whole sessions that doesn't show it while it is away, as one of a program's own with a connection.
type starting struct {
	*gsession.StorageMemory
	away atomic.Bool
}

func (s *starting) Get(ctx context.Context, id, key string) (any, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.StorageMemory.Get(ctx, id, key)
}

func (s *starting) Data(ctx context.Context, id string) (map[string]any, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.StorageMemory.Data(ctx, id)
}

func (s *starting) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if s.away.Load() {
		return errAway
	}
	return s.StorageMemory.SetSession(ctx, id, data, ttl)
}

// A store that is away from the first request on isn't taken for one that writes key by key.
func TestAStoreThatIsAwayFromTheStart(t *testing.T) {
	var said said
	var failed atomic.Pointer[error]
	store := &starting{StorageMemory: gsession.NewStorageMemory()}
	store.away.Store(true)
	chain := layer.Chain(store, layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
	s := serveChain(t, chain, standard(web.OnError(func(r *ghttp.Request, err error) {
		failed.Store(&err)
		r.Response.WriteStatus(http.StatusServiceUnavailable)
	})))
	c := s.client()
	for _, path := range []string{"/set", "/login"} {
		c.status(path, http.StatusServiceUnavailable)
		if err := failed.Load(); err == nil || !errors.Is(*err, errAway) {
			t.Errorf("%s: OnError got %v", path, err)
		}
	}
	store.away.Store(false)
	c.want("/set", "set")
	c.status("/login", http.StatusOK)
	c.want("/who", `ann;{"k":"v"}`)
	if err := chain.Close(context.Background()); err != nil { // has all lines written
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "Snapshots") {
		t.Errorf("the log has a wrong advice: %s", said.String())
	}
}

// stubborn is a store of either kind that refuses to write notes, or to end sessions.
type stubborn struct {
	gsession.Storage
	noNotes, noRemovals atomic.Bool
}

func (s *stubborn) refuses(id string, ends bool) bool {
	return s.noNotes.Load() && strings.HasPrefix(id, "moved.") || s.noRemovals.Load() && ends
}

func (s *stubborn) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if s.refuses(id, data.Size() == 0) {
		return errAway
	}
	return s.Storage.SetSession(ctx, id, data, ttl)
}

func (s *stubborn) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if s.refuses(id, false) {
		return errAway
	}
	return s.Storage.SetMap(ctx, id, data, ttl)
}

func (s *stubborn) RemoveAll(ctx context.Context, id string) error {
	if s.refuses(id, true) {
		return errAway
	}
	return s.Storage.RemoveAll(ctx, id)
}

// If a change of id fails, at its note or at the end of the old session, the log says so.
func TestAChangeOfIDThatFailsIsLogged(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		for what, path := range map[string]string{"note": "/renew", "removal": "/login"} {
			var said said
			store := &stubborn{Storage: storage}
			chain := layer.Chain(store, layer.Snapshots(), layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
			c := serveChain(t, chain, standard()).client()
			c.want("/set", "set")
			store.noNotes.Store(what == "note")
			store.noRemovals.Store(what == "removal")
			for range 3 {
				c.status(path, http.StatusServiceUnavailable)
			}
			c.want("/who", `;{"k":"v"}`)
			if err := chain.Close(context.Background()); err != nil { // has all lines written
				t.Fatal(err)
			}
			if lines := strings.Count(said.String(), "level=WARN"); lines != 1 || !strings.Contains(said.String(), "could not be") {
				t.Errorf("%s: three failures said %d lines: %s", what, lines, said.String())
			}
		}
	})
}

// MustGet and the like panic with the error. Another panic stays one, also of a request whose session couldn't be read.
func TestAPanicWithTheErrorOfTheStoreIsItsFailure(t *testing.T) {
	whole, direct := &teststore.Unread{Storage: gsession.NewStorageMemory()}, &unreachable{Keys: teststore.NewKeys(nil)}
	for name, c := range map[string]struct {
		store gsession.Storage
		away  *atomic.Bool
		opts  []web.Option
	}{
		"whole sessions":       {whole, &whole.Away, nil},
		"committed on a panic": {whole, &whole.Away, []web.Option{web.CommitOnPanic()}},
		"direct":               {direct, &direct.away, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var away atomic.Bool // from within the handler on
			s := serveChain(t, layer.Chain(c.store, layer.Snapshots()), func(server *ghttp.Server, chain *layer.Stack) {
				standard(c.opts...)(server, chain)
				for path, call := range map[string]func(*gsession.Session){
					"get": func(s *gsession.Session) { s.MustGet("k") }, "data": func(s *gsession.Session) { s.MustData() },
					"size": func(s *gsession.Session) { s.MustSize() }, "set": func(s *gsession.Session) { s.MustSet("k", "w") },
					"remove": func(s *gsession.Session) { s.MustRemove("k") }, "another": func(s *gsession.Session) {
						_, err := s.Data()
						panic(fmt.Sprint("a handler's own, after ", err))
					},
				} {
					server.BindHandler("/must/"+path, func(r *ghttp.Request) {
						c.away.Store(away.Load())
						call(r.Session)
					})
				}
			})
			visitor := s.client()
			visitor.want("/set", "set")
			away.Store(true)
			for _, path := range []string{"get", "data", "size", "set", "remove"} {
				c.away.Store(false)
				if a := visitor.get("/must/" + path); a.status != http.StatusServiceUnavailable || a.body != "The session could not be read or saved. Try again." {
					t.Errorf("%s: while the store is away the request gets %d, %q", path, a.status, a.body)
				}
			}
			c.away.Store(false)
			visitor.status("/must/another", http.StatusInternalServerError)
			away.Store(false)
			c.away.Store(false)
			visitor.status("/must/get", http.StatusOK)
			visitor.want("/get", "v")
		})
	}
}

func TestAFailedCommitIsTheResponse(t *testing.T) {
	mine := func(r *ghttp.Request, err error) { r.Response.WriteStatusExit(http.StatusTeapot, "mine") }
	for name, c := range map[string]struct {
		opts   []web.Option
		status int
		body   string
	}{
		"default": {nil, http.StatusServiceUnavailable, "The session could not be read or saved. Try again."},
		"own":     {[]web.Option{web.OnError(mine)}, http.StatusTeapot, "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
				standard(c.opts...)(server, chain)
				server.BindHandler("/flush", func(r *ghttp.Request) {
					r.Session.MustSet("k", "w")
					r.Response.Header().Set("Content-Length", "3")
					r.Response.Write("abc")
					r.Response.Flush()
					r.Response.Write("more")
					r.Response.Flush()
				})
				server.BindHandler("/redirect", func(r *ghttp.Request) {
					r.Session.MustSet("k", "w")
					r.Response.RedirectTo("/elsewhere")
				})
				server.BindHandler("/file", func(r *ghttp.Request) {
					r.Session.MustSet("k", "w")
					r.Response.ServeContent("x.txt", time.Now(), strings.NewReader("content"))
				})
			})
			visitor := s.client()
			visitor.want("/set", "set")
			visitor.want("/get", "v")
			s.store.breaks(errors.New("away"))
			for _, path := range []string{"/set?v=w", "/flush", "/redirect", "/file"} {
				a := visitor.get(path)
				if a.status != c.status || a.body != c.body || a.header.Get("Location") != "" || a.cookie != nil {
					t.Errorf("%s returned %d %q %v", path, a.status, a.body, a.header)
				}
			}
			s.store.breaks(nil)
			visitor.want("/get", "v")
		})
	}
}

// The response in place of a stream's first bytes leaves at once, as the handler may go on for as long as the client waits.
func TestAStreamWhoseCommitFailsIsRefusedAtOnce(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/stream", func(r *ghttp.Request) {
			r.Session.MustSet("k", "w")
			r.Response.Write("data: 1\n\n")
			r.Response.Flush()
			<-r.Context().Done()
		})
	})
	s.store.breaks(errors.New("away"))
	got, err := s.client().http.Get(s.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text := make([]byte, len("The session"))
	if _, err := io.ReadFull(got.Body, text); err != nil || got.StatusCode != http.StatusServiceUnavailable || string(text) != "The session" {
		t.Errorf("%s %q, %v", got.Status, text, err)
	}
}

func TestARequestOfAnEndedSessionGets409AndKeepsTheBrowsersCookie(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/slow", func(r *ghttp.Request) {
			r.Session.MustSet("slow", "v")
			running <- struct{}{}
			<-goOn
		})
	})
	for _, path := range []string{"/login", "/logout"} {
		c := s.client()
		old := c.want("/set", "set").cookie.Value
		slow := make(chan answer)
		go func() { slow <- c.get("/slow") }()
		<-running
		c.status(path, http.StatusOK)
		goOn <- struct{}{}
		if a := <-slow; a.status != http.StatusConflict || a.cookie != nil {
			t.Errorf("after %s the slow request returned %d, cookie %v", path, a.status, a.cookie)
		}
		if got := s.bare("/get", "Cookie", sends(old)).body; got != "" {
			t.Errorf("after %s the old id still shows %q", path, got)
		}
		if path == "/login" {
			c.want("/who", `ann;{"k":"v"}`)
		} else {
			c.want("/who", `;{}`)
		}
	}
}

// A handler's changes before it panicked aren't committed, and ghttp's response stays.
func TestAPanicCommitsNothing(t *testing.T) {
	panics := map[string]func(*ghttp.Request){
		"text":    func(*ghttp.Request) { panic("text") },
		"error":   func(*ghttp.Request) { panic(errors.New("plain")) },
		"gerror":  func(*ghttp.Request) { panic(gerror.New("with a stack")) },
		"runtime": func(*ghttp.Request) { var m map[string]int; m["x"] = 1 },
		"login": func(r *ghttp.Request) {
			if err := web.Login(r, "eve"); err != nil {
				t.Error(err)
			}
			panic("after the log-in")
		},
		"abort": func(*ghttp.Request) { panic(http.ErrAbortHandler) },
	}
	for _, commits := range []bool{false, true} {
		var opts []web.Option
		want := `ann;{"k":"v"}`
		if commits {
			opts, want = []web.Option{web.CommitOnPanic()}, `ann;{"k":"panicked"}`
		}
		s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
			standard(opts...)(server, chain)
			for name, panics := range panics {
				server.BindHandler("/panic/"+name, func(r *ghttp.Request) {
					r.Session.MustSet("k", "panicked")
					panics(r)
				})
			}
		})
		for name := range panics {
			c := s.client()
			c.want("/set", "set")
			c.status("/login", http.StatusOK)
			if a := c.status("/panic/"+name, http.StatusInternalServerError); !strings.Contains(a.body, "exception recovered") && name == "text" {
				t.Errorf("%s: the answer isn't ghttp's: %q", name, a.body)
			}
			if commits && name == "login" {
				c.want("/who", `eve;{"k":"panicked"}`)
				continue
			}
			c.want("/who", want)
		}
	}
}

// An inner middleware replaces the response of a panic, as GoFrame's documentation shows it.
func TestAPanicCommitsNothingWhereAMiddlewareReplacesTheResponse(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.Response.Status >= http.StatusInternalServerError {
				r.Response.ClearBuffer()
				r.Response.Write("sorry")
			}
		})
		server.BindHandler("/panic", func(r *ghttp.Request) {
			r.Session.MustSet("k", "panicked")
			panic(gerror.New("with a stack"))
		})
	})
	c := s.client()
	c.want("/set", "set")
	if a := c.status("/panic", http.StatusInternalServerError); a.body != "sorry" {
		t.Errorf("the response is %q", a.body)
	}
	c.want("/get", "v")
}

// A panic of what the program has given to the middleware is its request's alone: it commits no more,
// gets 500, and its session isn't followed any more.
func TestPanicsOfTheProgramsFunctions(t *testing.T) {
	for name, opt := range map[string]web.Option{
		"OnError": web.OnError(func(*ghttp.Request, error) { panic("OnError") }),
		"Describe": web.Describe(func(r *ghttp.Request) map[string]string {
			if r.URL.Path == "/panics" {
				panic("Describe")
			}
			return nil
		}),
	} {
		store := &counted{Storage: gsession.NewStorageMemory()}
		chain := layer.Chain(store, layer.Local(layer.LoadTimeout(deadline)), layer.Indexed(nil), layer.Traced(layer.Logger(slog.New(slog.DiscardHandler))))
		s := serveChain(t, chain, func(server *ghttp.Server, chain *layer.Stack) {
			t.Cleanup(func() { _ = chain.Close(context.Background()) })
			standard(opt)(server, chain)
			server.BindHandler("/panics", func(r *ghttp.Request) {
				web.Until(r)
				r.Session.MustSet("k", "changed")
				if name == "OnError" {
					store.breaks(errors.New("broken"))
				}
			})
		})
		c := s.client()
		c.want("/set", "set")
		c.status("/login", http.StatusOK)
		c.status("/panics", http.StatusInternalServerError)
		store.breaks(nil)
		c.want("/get", "v")
		stacks := make([]byte, 1<<20)
		poll.Until(t, "the session is followed no more", func() bool {
			return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*watch).run")
		})
	}
}

func TestLeavingByExitCommits(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		for name, leave := range map[string]func(*ghttp.Request){
			"exit":     func(r *ghttp.Request) { r.Exit() },
			"exitall":  func(r *ghttp.Request) { r.ExitAll() },
			"redirect": func(r *ghttp.Request) { r.Response.RedirectTo("/get") },
			"error":    func(r *ghttp.Request) { r.SetError(errors.New("of the handler")); r.Response.WriteStatus(500, "sorry") },
			"json":     func(r *ghttp.Request) { r.Response.WriteJsonExit(map[string]any{"a": 1}) },
		} {
			server.BindHandler("/"+name, func(r *ghttp.Request) {
				r.Session.MustSet("k", name)
				leave(r)
			})
		}
	})
	c := s.client()
	for _, name := range []string{"exit", "exitall", "redirect", "error", "json"} {
		c.get("/" + name)
		c.want("/get", name)
	}
}

// A client that hangs up takes nothing along: before the commit, during it and after it.
func TestChangesAreCommittedWhenTheClientHangsUp(t *testing.T) {
	arrived, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) { r.Middleware.Next(); done <- struct{}{} })
		standard()(server, chain)
		server.BindHandler("/slow", func(r *ghttp.Request) {
			arrived <- struct{}{}
			select {
			case <-r.Context().Done():
			case <-goOn:
			}
			r.Session.MustSet("k", "slow")
		})
	})
	go func() { <-done }()
	c := s.client()
	cookie := c.want("/set", "set").cookie
	ctx, cancel := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/slow", nil)
	r.Header.Set("Cookie", sends(cookie.Value))
	gone := make(chan error)
	go func() {
		_, err := c.http.Transport.RoundTrip(r)
		gone <- err
	}()
	<-arrived
	cancel()
	if err := <-gone; err == nil {
		t.Error("the client got a response")
	}
	<-done
	go func() { <-done }()
	c.want("/get", "slow")
}

func TestAThousandParallelRequestsOfOneSession(t *testing.T) {
	s := serve(t, standard())
	c := s.client()
	c.want("/set", "set")
	var group sync.WaitGroup
	slots := make(chan struct{}, 50)
	for n := range 1000 {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			c.want(fmt.Sprintf("/add?k=k%d", n), "added")
		})
	}
	group.Wait()
	if got := strings.Count(c.get("/who").body, ":"); got != 1001 {
		t.Errorf("1000 requests and one left %d keys", got)
	}
}

func TestOtherMiddlewaresBeforeAndAfter(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for _, before := range []bool{true, false} {
		s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
			if before {
				server.Use(ghttp.MiddlewareCORS, ghttp.MiddlewareGzip)
			}
			standard()(server, chain)
			if !before {
				server.Use(ghttp.MiddlewareGzip, ghttp.MiddlewareCORS)
			}
			server.BindHandler("/long", func(r *ghttp.Request) {
				r.Session.MustSet("k", "long")
				r.Response.Write(long)
			})
		})
		c := s.client()
		if a := c.want("/long", long, "Origin", "http://other.example"); a.cookie == nil || a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("before %v: %v", before, a.header)
		}
		if a := c.do(http.MethodOptions, "/long", "Origin", "http://other.example"); a.status != http.StatusOK || a.cookie != nil {
			t.Errorf("before %v: a preflight returned %d", before, a.status)
		}
		c.want("/get", "long")
		s.store.breaks(errors.New("away"))
		if a := c.get("/set?v=lost"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "Try again") {
			t.Errorf("before %v: %d %q", before, a.status, a.body)
		}
		s.store.breaks(nil)
	}
}

// Changes of a middleware or a hook after the session is committed are committed before the first byte.
func TestChangesAfterTheMiddlewareAreCommittedToo(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.URL.Path == "/late" {
				r.Session.MustSet("k", "late")
			}
		})
		standard()(server, chain)
		server.BindHookHandler("/hook", ghttp.HookBeforeOutput, func(r *ghttp.Request) {
			r.Session.MustSet("k", "hook of "+r.Session.MustGet("k").String())
		})
		for _, path := range []string{"/late", "/hook"} {
			server.BindHandler(path, func(r *ghttp.Request) {
				r.Session.MustSet("k", "handler")
				r.Response.Write("x")
			})
		}
	})
	c := s.client()
	c.want("/set", "set")
	c.want("/late", "x")
	c.want("/get", "late")
	c.want("/hook", "x")
	c.want("/get", "hook of handler")
	fresh := s.client()
	if a := fresh.want("/hook", "x"); a.cookie == nil {
		t.Error("no cookie")
	}
	fresh.want("/get", "hook of handler")
}

// A session that has taken a new id isn't lost to the client if what comes later can't be committed.
func TestAChangeAfterTheMiddlewareThatFailsLeavesTheNewId(t *testing.T) {
	var s *site
	s = serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.URL.Path == "/renew" {
				s.store.breaks(errors.New("away"))
				r.Session.MustSet("k", "late")
			}
		})
		standard()(server, chain)
	})
	c := s.client()
	c.status("/login", http.StatusOK)
	c.status("/renew", http.StatusServiceUnavailable)
	s.store.breaks(nil)
	c.want("/who", "ann;{}")
}

// A handler forwards its request to another route of the server: both have one session.
func TestAForwardedRequestHasTheSessionOfItsOwn(t *testing.T) {
	for _, over := range []string{"HTTP/1.1", "TLS"} {
		t.Run(over, func(t *testing.T) {
			open := serve
			if over == "TLS" {
				open = func(_ testing.TB, routes func(*ghttp.Server, *layer.Stack)) *site { return serveTLS(t, nil, routes) }
			}
			s := open(t, func(server *ghttp.Server, chain *layer.Stack) {
				standard()(server, chain)
				server.BindHandler("/forward", func(r *ghttp.Request) {
					r.Session.MustSet("before", "v")
					r.Request.URL.Path = r.GetQuery("to").String()
					r.Server.ServeHTTP(r.Response.Writer, r.Request)
					r.Session.MustSet("after", "v")
				})
			})
			c := s.client()
			c.want("/forward?to=/add&k=within", "added")
			c.want("/who", `;{"after":"v","before":"v","within":"v"}`)
			c.status("/forward?to=/login", http.StatusOK)
			c.want("/forward?to=/get", "")
			c.want("/who", `ann;{"after":"v","before":"v","within":"v"}`)
			c.status("/forward?to=/logout", http.StatusOK)
			c.want("/who", ";{}") // the response has left, so that no other session begins
		})
	}
}

func TestGroupsWithAndWithout(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.SetServerRoot(t.TempDir())
		server.Group("/with", func(group *ghttp.RouterGroup) {
			group.Middleware(web.Sessions(chain))
			group.GET("/set", func(r *ghttp.Request) { r.Session.MustSet("k", "v") })
			group.GET("/get", func(r *ghttp.Request) { r.Response.Write(r.Session.MustGet("k").String()) })
		})
		server.Group("/twice", func(group *ghttp.RouterGroup) {
			group.Middleware(web.Sessions(chain), web.Sessions(chain, web.Header("X-Admin")))
			group.GET("/get", func(r *ghttp.Request) { r.Response.Write(r.Session.MustGet("k").String()) })
		})
		server.BindHandler("/without", func(r *ghttp.Request) {
			if err := web.Login(r, "ann"); err == nil {
				t.Error("a log-in without the middleware succeeded")
			}
			r.Response.Write(r.Session.MustGet("k").String(), web.Token(r), web.Principal(r), web.Fresh(r, time.Hour))
		})
	})
	c := s.client()
	id := c.want("/with/set", "").cookie.Value
	c.want("/with/get", "v")
	c.want("/without", "false")
	c.want("/twice/get", "")
	c.want("/twice/get", "v", "X-Admin", id)
}

func TestTwoServersOfAProcess(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory())
	shared := web.Sessions(chain)
	routes := func(name string) func(*ghttp.Server, *layer.Stack) {
		return func(server *ghttp.Server, _ *layer.Stack) {
			server.SetSessionIdName(name)
			server.Use(shared)
			server.BindHandler("/set", func(r *ghttp.Request) { r.Session.MustSet("k", name) })
			server.BindHandler("/get", func(r *ghttp.Request) { r.Response.Write(r.Session.MustGet("k").String()) })
		}
	}
	for _, name := range []string{"one", "two"} {
		c := serveChain(t, chain, routes(name)).client()
		if a := c.want("/set", ""); a.cookie == nil || a.cookie.Name != name {
			t.Errorf("the cookie is %v", a.cookie)
		}
		c.want("/get", name)
	}
}

// Static files pass no middleware: they read no session, begin none and slide none.
func TestStaticFilesBeginNoSession(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.txt"), []byte("static"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.SetServerRoot(dir)
		standard()(server, chain)
	})
	id := s.bare("/set").cookie.Value
	reads, writes := s.store.counts()
	a := s.bare("/x.txt", "Cookie", sends(id))
	if a.body != "static" || a.cookie != nil || a.header.Get("Vary") != "" {
		t.Errorf("%q %v", a.body, a.header)
	}
	if r, w := s.store.counts(); r != reads || w != writes {
		t.Error("a static file asked for the session")
	}
}

// A store that is away is in the log once each ten seconds, without a stack and the id, however many requests fail:
// by a commit, by a panic with its error, or in LoggedIn. Outer middlewares see the panic.
func TestAStoreThatIsAwayIsLoggedOnce(t *testing.T) {
	for path, c := range map[string]struct{ reads, panics bool }{"/set": {}, "/must": {true, true}, "/stream": {true, true}, "/inside": {reads: true}} {
		t.Run(path, func(t *testing.T) {
			var said said
			var seen atomic.Int64
			store := &teststore.Unread{Storage: gsession.NewStorageMemory()}
			written := &counted{Storage: store}
			chain := layer.Chain(written, layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
			defer func() { _ = chain.Close(context.Background()) }()
			s := serveChain(t, chain, func(server *ghttp.Server, chain *layer.Stack) {
				logsTo(server, &said)
				server.Use(func(r *ghttp.Request) {
					r.Middleware.Next()
					if r.GetError() != nil {
						seen.Add(1)
					}
				})
				standard()(server, chain)
				server.BindHandler("/must", func(r *ghttp.Request) { r.Session.MustGet("k") })
				server.BindHandler("/stream", func(r *ghttp.Request) {
					r.Response.Write("begun")
					r.Response.Flush()
					r.Session.MustGet("k")
				})
				server.Group("/inside", func(group *ghttp.RouterGroup) {
					group.Middleware(web.LoggedIn)
					group.ALL("/", func(*ghttp.Request) {})
				})
			})
			id := s.bare("/set").cookie.Value
			if store.Away.Store(c.reads); !c.reads {
				written.breaks(errAway)
			}
			for range 20 {
				if a := s.bare(path, "Cookie", sends(id)); a.status != http.StatusServiceUnavailable && path != "/stream" {
					t.Fatal(a.status)
				}
			}
			if err := chain.Close(context.Background()); err != nil { // has all lines written
				t.Fatal(err)
			}
			if lines := strings.Count(said.String(), "\n"); lines != 1 || strings.Contains(said.String(), id) {
				t.Errorf("20 failures said %d lines: %s", lines, said.String())
			}
			if got := seen.Load() == 20; got != c.panics {
				t.Errorf("an outer middleware saw %d errors", seen.Load())
			}
		})
	}
}

// ghttp logs the error that an outer middleware sets in place of the store's.
func TestAnErrorOfAnOuterMiddlewareIsLogged(t *testing.T) {
	var said said
	store := &teststore.Unread{Storage: gsession.NewStorageMemory()}
	s := serveChain(t, layer.Chain(store), func(server *ghttp.Server, chain *layer.Stack) {
		logsTo(server, &said)
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.GetError() != nil {
				r.SetError(errors.New("of an outer middleware"))
			}
		})
		standard()(server, chain)
		server.BindHandler("/must", func(r *ghttp.Request) { r.Session.MustGet("k") })
	})
	id := s.bare("/set").cookie.Value
	store.Away.Store(true)
	if a := s.bare("/must", "Cookie", sends(id)); a.status != http.StatusServiceUnavailable {
		t.Error(a.status)
	}
	poll.Until(t, "the log has the error", func() bool { return strings.Contains(said.String(), "of an outer middleware") })
}

// A session from before the middleware, under an id of GoFrame's, goes on, and its cookie gets the
// flags. A read that meets its end is no conflict: what it was to note isn't the handler's.
func TestSessionsFromBeforeThisPackageAreRead(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/slowget", func(r *ghttp.Request) {
			value := r.Session.MustGet("k").String()
			running <- struct{}{}
			<-goOn
			r.Response.Write(value)
		})
		server.BindHandler("/begun", func(r *ghttp.Request) {
			r.Response.Write("x")
			r.Response.Flush()
			r.Response.Write(web.Login(r, "ann") != nil)
		})
	})
	plant := func() string {
		id := gsession.NewSessionId()
		old := gsession.New(life, s.chain).New(context.Background(), id)
		old.MustSet("k", "before")
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := plant()
	if a := s.bare("/get", "Cookie", sends(id)); a.body != "before" || a.cookie == nil || a.cookie.Value != id || !a.cookie.HttpOnly {
		t.Errorf("%q, cookie %v", a.body, a.cookie)
	}
	if a := s.bare("/get", "Cookie", sends(id)); a.body != "before" || a.cookie != nil {
		t.Errorf("%q, cookie %v", a.body, a.cookie)
	}
	id = plant()
	slow := make(chan answer)
	go func() { slow <- s.bare("/slowget", "Cookie", sends(id)) }()
	<-running
	s.bare("/logout", "Cookie", sends(id))
	goOn <- struct{}{}
	if a := <-slow; a.status != http.StatusOK || a.body != "before" || a.cookie != nil {
		t.Errorf("a read returned %d %q, cookie %v", a.status, a.body, a.cookie)
	}
	if got := s.bare("/get", "Cookie", sends(id)).body; got != "" {
		t.Error("the read brought the session back")
	}
	if a := s.bare("/begun"); a.body != "xtrue" || a.cookie != nil {
		t.Errorf("a log-in whose cookie can't be sent: %q", a.body)
	}
}

// said is a log. mu guards the text.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Ids in a header without TLS are warned of once in the chain's log, unless they come from this machine or by a proxy
// that has ended TLS.
func TestIDsInAHeaderWithoutTLS(t *testing.T) {
	for want, requests := range [][][2]string{
		{{"127.0.0.1:1", ""}, {"[::1]:1", ""}, {"192.0.2.7:1", "https"}},
		{{"127.0.0.1:1", ""}, {"192.0.2.7:1", ""}, {"192.0.2.8:1", ""}},
	} {
		var said said
		chain := layer.Chain(gsession.NewStorageMemory(), layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(&said, nil)))))
		s := serveChain(t, chain, standard(web.Bearer()))
		for _, from := range requests {
			r := httptest.NewRequest(http.MethodGet, "/get", nil)
			r.RemoteAddr = from[0]
			r.Header.Set("Authorization", "Bearer "+sessionmap.NewID())
			r.Header.Set("X-Forwarded-Proto", from[1])
			s.server.ServeHTTP(httptest.NewRecorder(), r)
		}
		if err := chain.Close(context.Background()); err != nil { // has all lines written
			t.Fatal(err)
		}
		if lines := strings.Count(said.String(), "without TLS"); lines != want {
			t.Errorf("%q are warned of %d times: %s", requests, lines, said.String())
		}
	}
}

// bothKinds runs a test over a store of snapshots and over a direct one.
func bothKinds(t *testing.T, test func(t *testing.T, storage gsession.Storage)) {
	t.Run("snapshots", func(t *testing.T) { test(t, gsession.NewStorageMemory()) })
	t.Run("direct", func(t *testing.T) { test(t, teststore.NewKeys(nil)) })
}

// A write after a log-out begins a session of its own, whose id the handler can learn at once, and which goes on
// after the response has begun.
func TestWhatFollowsALogOut(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			for path, out := range map[string]func(r *ghttp.Request) error{
				"/out":    func(r *ghttp.Request) error { return r.Session.RemoveAll() },
				"/logout": web.Logout,
			} {
				server.BindHandler(path+"-and-on", func(r *ghttp.Request) {
					if err := out(r); err != nil {
						t.Error(err)
					}
					if token := web.Token(r); token != "" {
						t.Errorf("%s: a session that has ended has the token %q", path, token)
					}
					r.Session.MustSet("flash", "bye")
					r.Response.Write(web.Token(r))
					if id := r.Session.MustId(); id != web.Token(r) {
						t.Errorf("%s: the token differs from the id", path)
					}
					r.Response.Flush()
					r.Session.MustSet("more", "v")
				})
			}
		})
		for _, path := range []string{"/out-and-on", "/logout-and-on"} {
			c := s.client()
			old := c.status("/login", http.StatusOK).body
			a := c.status(path, http.StatusOK)
			if a.body == old || a.cookie == nil || a.body != a.cookie.Value {
				t.Errorf("%s: the id was %q, the token is %q, the cookie %v", path, old, a.body, a.cookie)
			}
			c.want("/who", `;{"flash":"bye","more":"v"}`)
			if got := s.bare("/who", "Cookie", sends(old)).body; got != ";{}" {
				t.Errorf("%s: the id that was logged out shows %q", path, got)
			}
		}
	})
}

// A session that a request has begun keeps its keys under another id.
func TestASessionThatARequestHasBegunChangesItsId(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			for path, change := range map[string]func(r *ghttp.Request) error{
				"/in": func(r *ghttp.Request) error { return web.Login(r, "ann") },
				"/twice": func(r *ghttp.Request) error {
					_, err := r.Session.RegenerateId(true)
					return errors.Join(err, web.Login(r, "ann"))
				},
				"/out-in": func(r *ghttp.Request) error {
					err := r.Session.RemoveAll()
					r.Session.MustSet("k", "v")
					return errors.Join(err, web.Login(r, "ann"))
				},
			} {
				server.BindHandler(path, func(r *ghttp.Request) {
					r.Session.MustSet("k", "v")
					if err := change(r); err != nil {
						t.Errorf("%s: %v", path, err)
					}
					r.Session.MustSet("more", "v")
				})
			}
		})
		for _, path := range []string{"/in", "/twice", "/out-in"} {
			c := s.client()
			c.status(path, http.StatusOK)
			c.want("/who", `ann;{"k":"v","more":"v"}`)
		}
	})
}

// An id that the program makes itself is the session's, or is refused at the write, as a session that no request
// can ask for would be lost.
func TestIdsOfTheProgramsOwn(t *testing.T) {
	const own = "the-programs-own-id"
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		routes := func(opts ...web.Option) func(*ghttp.Server, *layer.Stack) {
			return func(server *ghttp.Server, chain *layer.Stack) {
				standard(opts...)(server, chain)
				ids := func(r *ghttp.Request) error {
					return r.Session.SetIdFunc(func(time.Duration) string { return r.GetQuery("id").String() })
				}
				server.BindHandler("/own", func(r *ghttp.Request) {
					r.Response.Write(errors.Join(ids(r), r.Session.Set("k", "own")))
				})
				server.BindHandler("/own-in", func(r *ghttp.Request) {
					r.Response.Write(errors.Join(ids(r), web.Login(r, "ann"), r.Session.Set("k", "own")))
				})
				server.BindHandler("/own-out", func(r *ghttp.Request) {
					r.Response.Write(errors.Join(ids(r), r.Session.Set("k", "own"), r.Session.RemoveAll()))
					r.Response.Write(r.Session.Set("more", "v") != nil)
				})
			}
		}
		s := serveOn(t, storage, routes())
		c := s.client()
		c.want("/own?id="+own, "")
		c.want("/who", `;{"k":"own"}`)
		if id := s.cookieOf(c); id != own {
			t.Errorf("the id is %q", id)
		}
		c = s.client()
		c.want("/own-in?id=another-"+own, "")
		c.want("/who", `ann;{"k":"own"}`)
		s.client().want("/own-out?id=third-"+own, "true")
		if got := s.bare("/who", "Cookie", sends("third-"+own)).body; got != ";{}" {
			t.Errorf("after a log-out there is %q", got)
		}
		// A function that returns the id that the session has: a log-in that kept it would change nothing for an attacker.
		c = s.client()
		c.want("/own?id=fourth-"+own, "")
		if a := c.get("/own-in?id=fourth-" + own); !strings.Contains(a.body, "SetIdFunc") || a.cookie != nil {
			t.Errorf("a log-in under the session's own id returned %q, %v", a.body, a.cookie)
		}
		c.want("/who", `;{"k":"own"}`)
		in := s.client()
		in.status("/login", http.StatusOK)
		for _, bad := range []string{"short", own + "/..", strings.Repeat("x", 200)} {
			if a := s.bare("/own?id=" + bad); !strings.Contains(a.body, "SetIdFunc") || a.cookie != nil {
				t.Errorf("%q returned %q", bad, a.body)
			}
			if a := in.get("/own-in?id=" + bad); !strings.Contains(a.body, "SetIdFunc") || a.cookie != nil {
				t.Errorf("a log-in under %q returned %q", bad, a.body)
			}
			in.want("/who", `ann;{"k":"own"}`)
		}
		signed := serveOn(t, storage, routes(web.Signed(make([]byte, 32))))
		if a := signed.bare("/own?id=" + own); !strings.Contains(a.body, "Signed") || a.cookie != nil {
			t.Errorf("an id without a signature returned %q", a.body)
		}
	})
}

// With AdoptUnknown a session begins under the id that the client has sent, where a session can have it.
func TestAdoptUnknown(t *testing.T) {
	const sent = "the-clients-own-id"
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		s := serveOn(t, storage, standard(web.AdoptUnknown()))
		s.bare("/get", "Cookie", sends(sent))
		if _, writes := s.store.counts(); writes != 0 {
			t.Errorf("a request that only reads made %d writes", writes)
		}
		if a := s.bare("/set", "Cookie", sends(sent)); a.cookie == nil || a.cookie.Value != sent {
			t.Errorf("the cookie is %v", a.cookie)
		}
		if got := s.bare("/get", "Cookie", sends(sent)).body; got != "v" {
			t.Errorf("under the client's id there is %q", got)
		}
		if a := s.bare("/set", "Cookie", sends("short")); a.cookie == nil || len(a.cookie.Value) != 22 {
			t.Errorf("for an id that no session can have the cookie is %v", a.cookie)
		}
		signed := serveOn(t, storage, standard(web.AdoptUnknown(), web.Signed(make([]byte, 32))))
		if a := signed.bare("/set", "Cookie", sends(sent)); a.cookie == nil || a.cookie.Value == sent {
			t.Errorf("for an id without a signature the cookie is %v", a.cookie)
		}
	})
}

// Once a response has begun no cookie can be sent: a write that needs one says so. A client that has the id in a
// header gets it by other ways.
func TestWhatNeedsACookieAfterTheResponseHasBegun(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		routes := func(opts ...web.Option) func(*ghttp.Server, *layer.Stack) {
			return func(server *ghttp.Server, chain *layer.Stack) {
				standard(opts...)(server, chain)
				late := func(f func(r *ghttp.Request) error) func(r *ghttp.Request) {
					return func(r *ghttp.Request) {
						r.Response.Write("begun ")
						r.Response.Flush()
						err := f(r)
						r.Response.Write(err != nil && strings.Contains(err.Error(), "has begun"), " ", web.Token(r))
					}
				}
				server.BindHandler("/late-set", late(func(r *ghttp.Request) error { return r.Session.Set("k", "late") }))
				server.BindHandler("/late-id", late(func(r *ghttp.Request) error {
					_, err := r.Session.RegenerateId(true)
					return err
				}))
				server.BindHandler("/late-out", late(web.Logout))
				server.BindHandler("/late-in", late(func(r *ghttp.Request) error { return web.Login(r, "ann") }))
			}
		}
		s := serveOn(t, storage, routes())
		c := s.client()
		c.want("/late-set", "begun true ")
		c.want("/get", "")
		c.want("/set", "set")
		id := s.cookieOf(c)
		c.want("/late-id", "begun true "+id)
		c.want("/late-in", "begun true "+id)
		c.want("/late-set", "begun false "+id)
		c.want("/who", `;{"k":"late"}`)
		c.want("/late-out", "begun false ")
		c.want("/who", ";{}")

		s = serveOn(t, storage, routes(web.Bearer()))
		token := strings.TrimPrefix(s.bare("/late-set").body, "begun false ")
		for _, path := range []string{"/late-id", "/late-in"} {
			next := strings.TrimPrefix(s.bare(path, "Authorization", "Bearer "+token).body, "begun false ")
			if next == token || next == "" {
				t.Fatalf("%s left the token %q", path, next)
			}
			token = next
		}
		if got := s.bare("/who", "Authorization", "Bearer "+token).body; got != `ann;{"k":"late"}` {
			t.Errorf("the session has %q", got)
		}
	})
}

// After the panic of a handler nothing of it is committed, also where another handler has forwarded the request to it.
func TestAForwardedHandlerThatPanicsCommitsNothing(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/half", func(r *ghttp.Request) {
			r.Session.MustSet("half", "done")
			panic("between two steps")
		})
		server.BindHandler("/loginhalf", func(r *ghttp.Request) {
			_ = web.Login(r, "ann")
			panic("a second factor failed")
		})
		server.BindHandler("/forward", func(r *ghttp.Request) {
			r.Request.URL.Path = r.GetQuery("to").String()
			r.Server.ServeHTTP(r.Response.Writer, r.Request)
		})
		server.BindHandler("/record", func(r *ghttp.Request) {
			r.Request.URL.Path = r.GetQuery("to").String()
			w := httptest.NewRecorder()
			r.Server.ServeHTTP(w, r.Request)
			r.Response.Write(w.Code)
		})
	})
	c := s.client()
	c.want("/set", "set")
	c.status("/half", http.StatusInternalServerError)
	c.want("/who", `;{"k":"v"}`)
	for _, path := range []string{"/forward?to=/half", "/record?to=/half", "/forward?to=/loginhalf", "/record?to=/loginhalf"} {
		c.get(path)
		if got := c.get("/who").body; got != `;{"k":"v"}` {
			t.Errorf("%s: after the panic there is %s", path, got)
		}
	}
}

// A request that a handler makes for another session, in its own context for the trace's sake, has that session.
func TestAForwardedRequestOfAnotherSessionHasThat(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard(web.Bearer())(server, chain)
		server.BindHandler("/loginas", func(r *ghttp.Request) {
			_ = web.Login(r, r.GetQuery("user").String())
			r.Response.Write(web.Token(r))
		})
		server.BindHandler("/call", func(r *ghttp.Request) {
			inner := httptest.NewRequestWithContext(r.Context(), http.MethodGet, r.GetQuery("to").String(), nil)
			inner.Header.Set("Authorization", "Bearer "+r.GetQuery("as").String())
			w := httptest.NewRecorder()
			r.Server.ServeHTTP(w, inner)
			r.Response.Write(w.Body.String())
		})
	})
	ann, bob := s.bare("/loginas?user=ann").body, s.bare("/loginas?user=bob").body
	if got := s.bare("/call?to=/who&as="+bob, "Authorization", "Bearer "+ann).body; got != "bob;{}" {
		t.Errorf("bob's request shows %s", got)
	}
	s.bare("/call?to=/set&as="+bob, "Authorization", "Bearer "+ann)
	if got := s.bare("/who", "Authorization", "Bearer "+bob).body; got != `bob;{"k":"v"}` {
		t.Errorf("bob's session holds %s", got)
	}
	if got := s.bare("/who", "Authorization", "Bearer "+ann).body; got != "ann;{}" {
		t.Errorf("ann's session has what was set in bob's: %s", got)
	}
}
