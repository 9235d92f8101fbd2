package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/online"
	"github.com/gf-strata/strata/layer/web"
)

var (
	//go:embed page.html
	page string
	//go:embed nodes.html
	nodes string

	pages = template.Must(template.Must(template.New("page").Parse(page)).New("nodes").Parse(nodes))
)

// goods are what the shop has. Each is a key of its own in the session, so that
// requests that put different ones into the cart change different keys.
var goods = map[string]bool{"bread": true, "cheese": true, "tea": true}

const (
	sessionName = "shop"       // the cookie of the sessions with layers
	plainName   = "shop-plain" // that of the sessions without
	plainly     = "/plain"     // the same routes, over the bare store
	ownHeader   = "X-Shop"

	visitKey = "visit"
	userKey  = "user"
	cartKeys = "cart."
)

// shop is one of the two that each node has: over the chain, or over the bare store.
//
// All fields are set before it opens.
type shop struct {
	plain  bool
	tally  *tally
	trials *trials
	node   int // from 1
}

// house is what a node serves, besides the trials that all nodes share.
type house struct {
	chain, plain gsession.Storage
	counts       [2]*tally // of the chain, and of the bare store
	node         int
	users        *layer.Users // nil without the page for administrators
}

func newServer(h house, trials *trials, listener net.Listener) (*ghttp.Server, error) {
	server := ghttp.GetServer("shop " + listener.Addr().String())
	err := errors.Join(
		server.SetConfigWithMap(map[string]any{
			"sessionIdName": plainName, "cookieHttpOnly": true, "cookieSameSite": "lax", "gracefulTimeout": int(timeout / time.Second),
			"dumpRouterMap": false, "accessLogEnabled": false,
		}),
		server.SetListener(listener),
		server.Logger().SetLevelStr("error"),
	)
	server.SetSessionMaxAge(sessionLife)
	server.SetSessionStorage(h.plain) // of the routes without web.Sessions
	server.BindStatusHandler(http.StatusInternalServerError, func(r *ghttp.Request) {
		r.Response.WriteOver(http.StatusText(http.StatusInternalServerError)) // what panicked isn't for visitors
	})
	layers := &shop{tally: h.counts[0], trials: trials, node: h.node}
	server.Group("/", func(group *ghttp.RouterGroup) {
		group.Middleware(quiet, web.Sessions(h.chain, web.Cookie(web.CookieOptions{Name: sessionName})))
		group.GET("/", layers.page)
		layers.bind(group)
		if h.users != nil {
			group.ALL("/admin", ghttp.WrapH(online.Handler(h.users, isAdmin, audit)))
		}
	})
	server.Group(plainly, func(group *ghttp.RouterGroup) {
		(&shop{plain: true, tally: h.counts[1], trials: trials}).bind(group)
	})
	server.BindHandler("POST:/try/{trial}", layers.change(layers.try)) // its visitors have sessions of their own
	return server, err
}

// isAdmin believes a visitor's name, as all of the shop does: a program asks for a password at the log-in.
func isAdmin(r *http.Request) bool {
	return web.Principal(ghttp.RequestFromCtx(r.Context())) == "admin"
}

func audit(_ *http.Request, a online.Action) {
	fmt.Printf("The administrator did %q, to %d sessions: %v\n", a.Did, max(a.Sessions, 1), a.Err)
}

// bind has both shops handle the same requests alike.
func (s *shop) bind(group *ghttp.RouterGroup) {
	group.GET("/state", s.state)
	group.POST("/visit", s.change(s.visit))
	group.POST("/login", s.change(s.login))
	group.POST("/logout", s.change(s.logout))
	group.POST("/cart/{item}", s.change(s.add))
	group.POST("/slow/{gate}", s.change(s.slow))
}

// quiet marks looks that the page takes by itself, so that the figures are of the visitor's.
func quiet(r *ghttp.Request) {
	if r.GetQuery("watch").Bool() {
		r.SetCtxVar(uncounted{}, true)
	}
	r.Middleware.Next()
}

func (s *shop) fail(r *ghttp.Request, err error) {
	if r.Context().Err() == nil && !s.plain {
		r.SetError(err) // ghttp logs it
	}
	s.refuse(r, http.StatusServiceUnavailable, "away")
}

// refuse says why in the visitor's language.
func (s *shop) refuse(r *ghttp.Request, status int, why string) {
	r.Response.WriteStatus(status, language(r)["error_"+why])
}

// page begins the session, so that the first requests, which may come all at once,
// bring its id.
func (s *shop) page(r *ghttp.Request) {
	if err := s.visit(r); err != nil {
		s.fail(r, err)
		return
	}
	name, pane := "page", r.GetQuery("node").Bool()
	if len(s.trials.nodes) > 1 && !pane {
		name = "nodes"
	}
	r.Response.Header().Set("Content-Language", language(r)["lang"])
	r.Response.Header().Add("Vary", "Accept-Language")
	if err := pages.ExecuteTemplate(r.Response.Writer, name, map[string]any{
		"T": language(r), "Goods": []string{"bread", "cheese", "tea"}, "Trials": []string{"logout", "changes", "outage"},
		"Redis": s.trials.name == "redis", "Own": s.trials.redis != nil, "Node": s.node, "Pane": pane, "Nodes": s.trials.nodes,
	}); err != nil {
		s.fail(r, err)
	}
}

// visit begins a session where there is none.
func (s *shop) visit(r *ghttp.Request) error {
	known, err := r.Session.Contains(visitKey)
	if err == nil && !known {
		err = r.Session.Set(visitKey, true)
	}
	return err
}

// change takes requests of the page only: another site can't set this header.
func (s *shop) change(handle func(*ghttp.Request) error) func(*ghttp.Request) {
	return func(r *ghttp.Request) {
		if r.GetHeader(ownHeader) == "" {
			s.refuse(r, http.StatusForbidden, "foreign")
			return
		}
		if err := handle(r); err != nil {
			s.fail(r, err)
		}
	}
}

func (s *shop) login(r *ghttp.Request) error {
	var form struct{ Name string }
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&form)
	name := strings.TrimSpace(form.Name)
	if err != nil || name == "" || utf8.RuneCountInString(name) > 40 {
		s.refuse(r, http.StatusBadRequest, "name")
		return nil
	}
	if err := r.Session.Set(userKey, name); err != nil || s.plain {
		return err
	}
	before := web.Token(r)
	if err := web.Login(r, name); err != nil {
		return err
	}
	s.tally.add(web.Token(r), s.tally.take(before)) // the counts follow the visitor to the new id
	return nil
}

func (s *shop) logout(r *ghttp.Request) error {
	s.tally.take(s.id(r))
	if s.plain {
		return r.Session.RemoveAll()
	}
	return web.Logout(r)
}

// id is "" where there is no session.
func (s *shop) id(r *ghttp.Request) string {
	if s.plain {
		return r.GetSessionId()
	}
	return web.Token(r)
}

func (s *shop) add(r *ghttp.Request) error {
	item := r.GetRouter("item").String()
	if !goods[item] {
		s.refuse(r, http.StatusNotFound, "unknown")
		return nil
	}
	count, err := r.Session.Get(cartKeys+item, 0)
	if err != nil {
		return err
	}
	return r.Session.Set(cartKeys+item, count.Int()+1)
}

// state is what the page shows: the visitor's session, and what it took to keep it.
func (s *shop) state(r *ghttp.Request) {
	data, err := r.Session.Data()
	if err != nil {
		s.fail(r, err)
		return
	}
	cart := map[string]any{}
	for key, count := range data {
		if item, ok := strings.CutPrefix(key, cartKeys); ok {
			cart[item] = count
		}
	}
	var counts Counts
	if id := s.id(r); id != "" {
		counts = s.tally.of(id)
	}
	r.Response.WriteJson(map[string]any{"user": data[userKey], "cart": cart, "counts": counts})
}
