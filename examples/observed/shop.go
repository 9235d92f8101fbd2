package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gogf/gf/contrib/metric/otelmetric/v2"
	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/status"
	"github.com/gf-strata/strata/layer/web"
)

//go:embed index.html
var index string

const (
	sessionLife = 24 * time.Hour // how long a visitor is remembered
	sessionName = "observed"

	userKey  = "user"
	cartKeys = "cart."
)

// goods are what the shop has. Each is a key of its own in the session.
var goods = map[string]bool{"bread": true, "cheese": true, "tea": true}

func newServer(chain *layer.Stack, listener net.Listener) (*ghttp.Server, error) {
	server := ghttp.GetServer("observed " + listener.Addr().String())
	err := errors.Join(
		server.SetConfigWithMap(map[string]any{
			"sessionIdName": sessionName, "gracefulTimeout": int(endTimeout / time.Second),
			"dumpRouterMap": false, "accessLogEnabled": false,
		}),
		server.SetListener(listener),
		server.Logger().SetLevelStr("error"),
	)
	server.SetSessionMaxAge(sessionLife)
	server.BindHandler("GET:/", func(r *ghttp.Request) { r.Response.Write(index) })
	// In production, serve it on an address that only Prometheus reaches.
	server.BindHandler("GET:/metrics", otelmetric.PrometheusHandler)
	// In production, replace local by a func that distinguishes an administrator from a visitor.
	server.BindHandler("GET:/status/*", ghttp.WrapH(status.Handler(chain, local)))
	server.Group("/", func(group *ghttp.RouterGroup) {
		group.Middleware(web.Sessions(chain))
		group.GET("/cart", cart)
		group.POST("/cart/{item}", change(add))
		group.POST("/login", change(login))
		group.POST("/logout", change(logout))
	})
	return server, err
}

// local reports whether a request comes from this machine itself, through no proxy.
func local(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback() && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}

func change(handle func(*ghttp.Request) error) ghttp.HandlerFunc {
	return func(r *ghttp.Request) {
		if err := handle(r); err != nil {
			fail(r, err)
		}
	}
}

func login(r *ghttp.Request) error {
	var form struct{ Name string }
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&form)
	name := strings.TrimSpace(form.Name)
	if err != nil || name == "" || utf8.RuneCountInString(name) > 40 {
		r.Response.WriteStatus(http.StatusBadRequest, "A name has 1 to 40 letters.")
		return nil
	}
	if err := r.Session.Set(userKey, name); err != nil {
		return err
	}
	return web.Login(r, name)
}

func logout(r *ghttp.Request) error { return web.Logout(r) }

func add(r *ghttp.Request) error {
	item := r.GetRouter("item").String()
	if !goods[item] {
		r.Response.WriteStatus(http.StatusNotFound, "The shop doesn't have that.")
		return nil
	}
	count, err := r.Session.Get(cartKeys+item, 0)
	if err != nil {
		return err
	}
	return r.Session.Set(cartKeys+item, count.Int()+1)
}

func fail(r *ghttp.Request, err error) {
	if errors.Is(err, web.ErrCrossSite) {
		r.Response.WriteStatus(http.StatusForbidden, "This isn't a request of the shop's page.")
		return
	}
	if r.Context().Err() == nil {
		r.SetError(err) // ghttp logs it, and the server's span shows it
	}
	r.Response.WriteStatus(http.StatusServiceUnavailable, "The shop can't reach its sessions. Try again.")
}

// cart shows the visitor and what is in the cart.
func cart(r *ghttp.Request) {
	data, err := r.Session.Data()
	if err != nil {
		fail(r, err)
		return
	}
	items := map[string]any{}
	for key, count := range data {
		if item, ok := strings.CutPrefix(key, cartKeys); ok {
			items[item] = count
		}
	}
	r.Response.WriteJson(map[string]any{"user": data[userKey], "cart": items})
}
