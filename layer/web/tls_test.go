package web_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/layer"
)

// serveTLS is serve over TLS, with a certificate of this test. GoFrame offers HTTP/2 only where its
// TLS configuration names it.
func serveTLS(t *testing.T, protocols []string, routes func(*ghttp.Server, *layer.Stack)) *site {
	t.Helper()
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.SetTLSConfig(&tls.Config{Certificates: other.TLS.Certificates, NextProtos: protocols, MinVersion: tls.VersionTLS12})
		routes(server, chain)
	})
	s.base = strings.Replace(s.base, "http:", "https:", 1)
	s.tls = other.Client().Transport.(*http.Transport).TLSClientConfig
	return s
}

func TestOverTLS(t *testing.T) {
	for name, protocols := range map[string][]string{"HTTP/1.1": nil, "HTTP/2.0": {"h2", "http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			goOn := make(chan struct{})
			s := serveTLS(t, protocols, func(server *ghttp.Server, chain *layer.Stack) {
				standard()(server, chain)
				server.BindHandler("/proto", func(r *ghttp.Request) { r.Response.Write(r.Proto) })
				server.BindHandler("/stream", func(r *ghttp.Request) {
					r.Session.MustSet("k", "first")
					r.Response.Write("1\n")
					r.Response.Flush()
					<-goOn
					r.Session.MustSet("k", "second")
				})
				server.BindHandler("/hijack", func(r *ghttp.Request) {
					r.Session.MustSet("k", "hijacked")
					if r.ProtoMajor < 2 {
						return
					}
					if _, _, err := r.Response.Hijack(); !errors.Is(err, http.ErrNotSupported) {
						t.Errorf("a connection of HTTP/2 was taken over: %v", err)
					}
				})
			})
			c := s.client()
			c.want("/proto", name)
			a := c.want("/set", "set")
			if a.cookie == nil || a.cookie.Name != "__Host-"+cookieName || !a.cookie.Secure || !a.cookie.HttpOnly ||
				a.cookie.Path != "/" || a.cookie.Domain != "" || a.cookie.SameSite != http.SameSiteLaxMode {
				t.Fatalf("the cookie is %+v", a.cookie)
			}
			old := a.cookie
			c.want("/get", "v")
			if got := s.bare("/get", "Cookie", sends(old.Value)); got.body != "" {
				t.Error("over TLS the name without the prefix is read, which other hosts of the domain can set")
			}
			if a = c.status("/login", http.StatusOK); a.cookie == nil || a.cookie.Value == old.Value || !a.cookie.Secure {
				t.Errorf("the log-in's cookie is %+v", a.cookie)
			}
			c.want("/who", `ann;{"k":"v"}`)

			got, err := c.http.Get(s.base + "/stream")
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			lines := bufio.NewReader(got.Body)
			if line, err := lines.ReadString('\n'); err != nil || line != "1\n" {
				t.Fatalf("%q, %v", line, err)
			}
			c.want("/get", "first")
			goOn <- struct{}{}
			if _, err = io.Copy(io.Discard, lines); err != nil {
				t.Fatal(err)
			}
			c.want("/get", "second")

			// A connection that can't be taken over leaves the response its cookie. (GoFrame's
			// own writer drops the body then, and panics without the middleware.)
			fresh := s.client()
			if a := fresh.status("/hijack", http.StatusOK); a.cookie == nil {
				t.Error("no cookie came")
			}
			fresh.want("/get", "hijacked")

			s.store.breaks(errors.New("away"))
			c.status("/set?v=w", http.StatusServiceUnavailable)
			s.store.breaks(nil)
			c.want("/get", "second")
			if a = c.status("/logout", http.StatusOK); a.cookie == nil || a.cookie.MaxAge >= 0 || a.cookie.Name != "__Host-"+cookieName || !a.cookie.Secure {
				t.Errorf("the log-out left the cookie %+v", a.cookie)
			}
			c.want("/who", ";{}")
		})
	}
}
