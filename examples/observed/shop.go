package main

import (
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
	"github.com/gogf/gf/v2/os/gsession"
)

const (
	sessionLife = 24 * time.Hour // how long a visitor is remembered
	sessionName = "observed"

	userKey  = "user"
	cartKeys = "cart."
)

// goods are what the shop has. Each is a key of its own in the session.
var goods = map[string]bool{"bread": true, "cheese": true, "tea": true}

func newServer(chain gsession.Storage, listener net.Listener) (*ghttp.Server, error) {
	server := ghttp.GetServer("observed " + listener.Addr().String())
	err := errors.Join(
		server.SetConfigWithMap(map[string]any{
			"cookieSameSite": "lax", "cookieHttpOnly": true, "sessionIdName": sessionName,
			"gracefulTimeout": int(patience / time.Second),
			"dumpRouterMap":   false, "accessLogEnabled": false,
		}),
		server.SetListener(listener),
		server.Logger().SetLevelStr("error"),
	)
	server.SetSessionMaxAge(sessionLife)
	server.SetSessionStorage(chain)
	// In production, serve it on an address that only Prometheus reaches.
	server.BindHandler("GET:/metrics", otelmetric.PrometheusHandler)
	server.Group("/", func(group *ghttp.RouterGroup) {
		group.Middleware(withSession(gsession.New(sessionLife, chain)))
		group.GET("/cart", cart)
		group.POST("/cart/{item}", change(add))
		group.POST("/login", change(login))
		group.POST("/logout", change(logout))
	})
	return server, err
}

func change(handle func(*ghttp.Request) error) ghttp.HandlerFunc {
	return func(r *ghttp.Request) {
		if err := handle(r); err != nil {
			fail(r, err)
		}
	}
}

// login changes the session's id, against those who know the one from before.
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
	_, err = r.Session.RegenerateId(true) // it goes to the visitor as the new cookie
	return err
}

func logout(r *ghttp.Request) error { return r.Session.RemoveAll() }

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
