package web_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// logsTo has the server write its error log.
func logsTo(server *ghttp.Server, to *said) {
	server.SetErrorLogEnabled(true)
	server.Logger().SetWriter(to)
	_ = server.Logger().SetLevelStr("error")
}

// logging has a test fail for each line in the server's error log, as that of a panic.
func logging(t *testing.T, server *ghttp.Server) {
	var said said
	logsTo(server, &said)
	t.Cleanup(func() {
		if text := said.String(); text != "" {
			t.Errorf("the server's log has %s", text)
		}
	})
}

// zipped is a plain writer that compresses, as those of other authors.
type zipped struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (z *zipped) Write(p []byte) (int, error) {
	z.Header().Del("Content-Length")
	z.Header().Set("Content-Encoding", "gzip")
	return z.to.Write(p)
}

func (z *zipped) WriteHeader(status int) {
	z.Header().Del("Content-Length")
	z.Header().Set("Content-Encoding", "gzip")
	z.ResponseWriter.WriteHeader(status)
}

func (z *zipped) Flush() {
	_ = z.to.Flush()
	_ = http.NewResponseController(z.ResponseWriter).Flush()
}

func (z *zipped) Unwrap() http.ResponseWriter { return z.ResponseWriter }

// zip compresses the responses to the requests that ask for it by name.
func zip(name string, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Zip") != name {
			next.ServeHTTP(w, r)
			return
		}
		to := gzip.NewWriter(w)
		next.ServeHTTP(&zipped{w, to}, r)
		_ = to.Close()
	}
}

// Each way in which a response leaves: what the handler has set is in the store before its first byte, the cookie comes
// with it, and nothing is logged. If the store refuses, the client gets 503 and nothing of the handler's response.
func TestEachWayInWhichAResponseLeaves(t *testing.T) {
	const text = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "yes")
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(w, text)
	}))
	defer upstream.Close()
	to, _ := url.Parse(upstream.URL)
	proxy := httputil.NewSingleHostReverseProxy(to)
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, text)
	})
	for name, way := range map[string]struct {
		leave   func(r *ghttp.Request)
		method  string
		status  int
		body    string
		headers []string
	}{
		"buffer":   {leave: func(r *ghttp.Request) { r.Response.Write(text) }, body: text},
		"head":     {leave: func(r *ghttp.Request) { r.Response.Write(text) }, method: http.MethodHead},
		"exit":     {leave: func(r *ghttp.Request) { r.Response.Write(text); r.Exit() }, body: text},
		"exitall":  {leave: func(r *ghttp.Request) { r.Response.Write(text); r.ExitAll() }, body: text},
		"redirect": {leave: func(r *ghttp.Request) { r.Response.RedirectTo("/elsewhere") }, status: http.StatusFound, body: "Found"},
		"nothing":  {leave: func(r *ghttp.Request) { r.Response.WriteHeader(http.StatusNoContent) }, status: http.StatusNoContent},
		"file":     {leave: func(r *ghttp.Request) { r.Response.ServeFile(file) }, body: text},
		"download": {leave: func(r *ghttp.Request) { r.Response.ServeFileDownload(file, "名.txt") }, body: text},
		"range": {leave: func(r *ghttp.Request) { r.Response.ServeFileDownload(file) }, status: http.StatusPartialContent, body: text[4:8],
			headers: []string{"Range", "bytes=4-7"}},
		"no range": {leave: func(r *ghttp.Request) { r.Response.ServeFile(file) }, status: http.StatusRequestedRangeNotSatisfiable,
			body: "invalid range: failed to overlap\n", headers: []string{"Range", "bytes=40-70"}},
		"not modified": {leave: func(r *ghttp.Request) { r.Response.ServeFile(file) }, status: http.StatusNotModified,
			headers: []string{"If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}},
		"flush": {leave: func(r *ghttp.Request) { r.Response.Write(text); r.Response.Flush() }, body: text},
		"controller": {leave: func(r *ghttp.Request) {
			leaves := http.NewResponseController(r.Response.Writer.ResponseWriter)
			if err := errors.Join(leaves.SetWriteDeadline(time.Now().Add(deadline)), leaves.EnableFullDuplex()); err != nil {
				t.Error(err)
			}
			r.Response.Write(text)
		}, body: text},
		"early hints": {leave: func(r *ghttp.Request) {
			r.Response.Writer.ResponseWriter.WriteHeader(http.StatusEarlyHints)
			r.Response.Write(text)
		}, body: text},
		"plain handler":  {leave: ghttp.WrapH(plain), status: http.StatusAccepted, body: text},
		"zipped handler": {leave: ghttp.WrapH(zip("inner", plain)), status: http.StatusAccepted, body: text, headers: []string{"X-Zip", "inner"}},
		"proxy":          {leave: ghttp.WrapH(proxy), body: text},
	} {
		for _, over := range []string{"HTTP/1.1", "HTTP/2", "a zipping writer"} {
			outside := over == "a zipping writer"
			if outside && (name == "nothing" || name == "not modified" || name == "head") {
				continue // the writer of this test would give these a body
			}
			t.Run(name+" over "+over, func(t *testing.T) {
				var status atomic.Int64 // as the access log has it
				routes := func(server *ghttp.Server, chain *layer.Stack) {
					logging(t, server)
					server.Use(func(r *ghttp.Request) { r.Middleware.Next(); status.Store(int64(r.Response.Status)) })
					server.SetHandler(zip("outer", http.HandlerFunc(server.ServeHTTP)))
					server.Use(ghttp.MiddlewareGzip)
					standard()(server, chain)
					server.BindHandler("/way", func(r *ghttp.Request) {
						r.Session.MustSet("k", r.GetQuery("v").String())
						way.leave(r)
					})
				}
				var s *site
				if over == "HTTP/2" {
					s = serveTLS(t, []string{"h2"}, routes)
				} else {
					s = serve(t, routes)
				}
				if way.method == "" {
					way.method = http.MethodGet
				}
				if way.status == 0 {
					way.status = http.StatusOK
				}
				headers := append([]string{"Accept-Encoding", "identity"}, way.headers...)
				if outside {
					headers = append(headers, "X-Zip", "outer")
				}
				visitor := s.client()
				ask := func(value string) (answer, int) {
					t.Helper()
					a := visitor.do(way.method, "/way?v="+value, headers...)
					if a.header.Get("Content-Encoding") == "gzip" && a.body != "" {
						from, err := gzip.NewReader(strings.NewReader(a.body))
						if err == nil {
							var body []byte
							body, err = io.ReadAll(from)
							a.body = string(body)
						}
						if err != nil {
							t.Error(err)
						}
					}
					own := 0
					for _, line := range a.header["Set-Cookie"] {
						if strings.Contains(line, cookieName+"=") {
							own++
						}
					}
					return a, own
				}
				if a, own := ask("first"); a.status != way.status || a.body != way.body || own != 1 || a.header.Get("Cache-Control") != "private" {
					t.Errorf("the first response is %d %q %v", a.status, a.body, a.header)
				}
				visitor.want("/get", "first")
				if a, own := ask("second"); a.status != way.status || a.body != way.body || own != 0 {
					t.Errorf("the second response is %d %q %v", a.status, a.body, a.header)
				}
				s.store.breaks(errors.New("away"))
				refused := "The session could not be read or saved. Try again."
				if way.method == http.MethodHead {
					refused = ""
				}
				for _, name := range []string{"Location", "Content-Range", "Content-Disposition", "Last-Modified"} {
					if a, own := ask("third"); a.status != http.StatusServiceUnavailable || a.body != refused || own != 0 || a.header.Get(name) != "" || status.Load() != int64(a.status) {
						t.Errorf("the response to what the store refuses is %d, logged as %d, %q %v", a.status, status.Load(), a.body, a.header)
					}
				}
				s.store.breaks(nil)
				visitor.want("/get", "second")
			})
		}
	}
}

// raw is a connection on which a test writes requests as they are.
func raw(t *testing.T, s *site) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(deadline))
	return conn, bufio.NewReader(conn)
}

// A socket lives until its session is logged out on another node. Later changes of its handler bring nothing back.
func TestASocketEndsWithItsSessionOnAnotherNode(t *testing.T) {
	redis := redistest.Start(t)
	ended := make(chan error, 1)
	routes := func(server *ghttp.Server, chain *layer.Stack) {
		logging(t, server)
		standard()(server, chain)
		server.BindHandler("/socket", func(r *ghttp.Request) {
			ends := web.Until(r)
			socket, err := r.WebSocket() //lint:ignore SA1019 what programs call
			if err != nil {
				t.Error(err)
				return
			}
			defer socket.Close()
			<-ends.Done()
			r.Session.MustSet("k", "late")
			ended <- context.Cause(ends)
		})
	}
	one, two := node(t, redis, routes), node(t, redis, routes)
	visitor := one.client()
	visitor.status("/login", http.StatusOK)
	id := one.cookieOf(visitor)
	conn, from := raw(t, two)
	_, _ = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nCookie: "+sends(id)+"\r\n\r\n")
	if got, err := http.ReadResponse(from, nil); err != nil || got.StatusCode != http.StatusSwitchingProtocols || len(got.Cookies()) != 0 {
		t.Fatal(got, err)
	}
	visitor.status("/set?v=w", http.StatusOK)
	select {
	case err := <-ended:
		t.Fatalf("a change ended the socket: %v", err)
	default:
	}
	visitor.status("/logout", http.StatusOK)
	if err := <-ended; !errors.Is(err, layer.ErrRevoked) {
		t.Errorf("the socket ended with %v", err)
	}
	if rest, err := io.ReadAll(from); err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	for _, s := range []*site{one, two} {
		if got := s.bare("/who", "Cookie", sends(id)).body; got != ";{}" {
			t.Errorf("after the log-out the session is %q", got)
		}
	}
}

// Requests that come behind each other on one connection, without waiting for a response, each see the one before.
func TestRequestsInAPipeline(t *testing.T) {
	s := node(t, redistest.Start(t), func(server *ghttp.Server, chain *layer.Stack) {
		logging(t, server)
		standard()(server, chain)
	})
	id := s.bare("/set").cookie.Value
	conn, from := raw(t, s)
	var all strings.Builder
	for n := range 20 {
		fmt.Fprintf(&all, "GET /set?v=%d HTTP/1.1\r\nHost: site\r\nCookie: %s\r\n\r\nGET /get HTTP/1.1\r\nHost: site\r\nCookie: %s\r\n\r\n", n, sends(id), sends(id))
	}
	_, _ = io.WriteString(conn, all.String())
	for n := range 40 {
		got, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		want := "set"
		if n%2 == 1 {
			want = fmt.Sprint(n / 2)
		}
		if err != nil || string(body) != want || len(got.Cookies()) != 0 {
			t.Errorf("response %d is %q, %v, cookies %v", n, body, err, got.Cookies())
		}
	}
}

// A body that is larger than the server takes, or that ends with its client, is a panic of ghttp's own in the handler:
// nothing of the request is committed, and the session goes on.
func TestABodyThatCanNotBeRead(t *testing.T) {
	over := make(chan struct{}, 1)
	s := node(t, redistest.Start(t), func(server *ghttp.Server, chain *layer.Stack) {
		server.SetClientMaxBodySize(1024)
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.URL.Path == "/body" {
				over <- struct{}{}
			}
		})
		standard()(server, chain)
		server.BindHandler("/body", func(r *ghttp.Request) {
			r.Session.MustSet("k", "changed")
			r.Session.MustSet("k", string(r.GetBody()))
		})
	})
	visitor := s.client()
	visitor.want("/set", "set")
	got, err := visitor.http.Post(s.base+"/body", "text/plain", strings.NewReader(strings.Repeat("x", 2048)))
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Body.Close()
	if <-over; got.StatusCode != http.StatusInternalServerError || len(got.Cookies()) != 0 {
		t.Errorf("a body that is too large returned %s, %v", got.Status, got.Cookies())
	}
	visitor.want("/get", "v")
	conn, _ := raw(t, s)
	_, _ = io.WriteString(conn, "POST /body HTTP/1.1\r\nHost: site\r\nContent-Length: 100\r\nCookie: "+sends(s.cookieOf(visitor))+"\r\n\r\nbegun")
	_ = conn.Close()
	<-over
	visitor.want("/get", "v")
}
