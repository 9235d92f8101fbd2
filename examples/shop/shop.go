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

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer/web"
)

//go:embed page.html
var page string

// goods are what the shop has. Each is a key of its own in the session, so that
// requests that put different ones into the cart change different keys.
var goods = map[string]bool{"bread": true, "cheese": true, "tea": true}

const (
	sessionName = "shop"

	visitKey = "visit"
	userKey  = "user"
	cartKeys = "cart."
)

type shop struct{ tally *tally }

func newServer(chain gsession.Storage, tally *tally, listener net.Listener) (*ghttp.Server, error) {
	server := ghttp.GetServer("shop " + listener.Addr().String())
	err := errors.Join(
		server.SetConfigWithMap(map[string]any{
			"sessionIdName": sessionName, "gracefulTimeout": int(patience / time.Second),
			"dumpRouterMap": false, "accessLogEnabled": false,
		}),
		server.SetListener(listener),
		server.Logger().SetLevelStr("error"),
	)
	server.SetSessionMaxAge(sessionLife)
	s := &shop{tally: tally}
	server.Use(web.Sessions(chain))
	server.BindStatusHandler(http.StatusInternalServerError, func(r *ghttp.Request) {
		r.Response.WriteOver(http.StatusText(http.StatusInternalServerError)) // what panicked isn't for visitors
	})
	server.BindHandler("GET:/", s.page)
	server.BindHandler("GET:/state", s.state)
	server.BindHandler("POST:/login", s.change(s.login))
	server.BindHandler("POST:/logout", s.change(s.logout))
	server.BindHandler("POST:/cart/{item}", s.change(s.add))
	return server, err
}

func fail(r *ghttp.Request, err error) {
	if r.Context().Err() == nil {
		r.SetError(err) // ghttp logs it
	}
	r.Response.WriteStatus(http.StatusServiceUnavailable, "The shop can't reach its sessions. Try again.")
}

// page begins the session, so that the first requests, which may come all at once,
// bring its id.
func (s *shop) page(r *ghttp.Request) {
	known, err := r.Session.Contains(visitKey)
	if err == nil && !known {
		err = r.Session.Set(visitKey, true)
	}
	if err != nil {
		fail(r, err)
		return
	}
	r.Response.Write(page)
}

// change takes requests of the page only: another site can't set this header.
func (s *shop) change(handle func(*ghttp.Request) error) func(*ghttp.Request) {
	return func(r *ghttp.Request) {
		if r.GetHeader("X-Shop") == "" {
			r.Response.WriteStatus(http.StatusForbidden, "This isn't a request of the shop's page.")
			return
		}
		if err := handle(r); err != nil {
			fail(r, err)
		}
	}
}

func (s *shop) login(r *ghttp.Request) error {
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
	before := web.Token(r)
	if err := web.Login(r, name); err != nil {
		return err
	}
	s.tally.move(before, web.Token(r))
	return nil
}

func (s *shop) logout(r *ghttp.Request) error { return web.Logout(r) }

func (s *shop) add(r *ghttp.Request) error {
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

// state is what the page shows: the visitor's session, and what the layers did for it.
func (s *shop) state(r *ghttp.Request) {
	data, err := r.Session.Data()
	if err != nil {
		fail(r, err)
		return
	}
	cart := map[string]any{}
	for key, count := range data {
		if item, ok := strings.CutPrefix(key, cartKeys); ok {
			cart[item] = count
		}
	}
	var counts Counts
	if id := web.Token(r); id != "" {
		counts = s.tally.of(id)
	}
	r.Response.WriteJson(map[string]any{"user": data[userKey], "cart": cart, "layers": counts})
}
