package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/guid"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// A log-in, a page for those who are logged in, and a log-out. Each changes the session's id.
func ExampleSessions() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Coalesced(), layer.Local(layer.Exclusive()))
	defer chain.Close(context.Background())
	server := ghttp.GetServer(guid.S())
	server.Use(web.Sessions(chain, web.Absolute(12*time.Hour)))
	server.BindHandler("POST:/login", func(r *ghttp.Request) { // check the password here
		if err := web.Login(r, r.Get("user").String()); err != nil {
			r.Response.WriteStatusExit(http.StatusServiceUnavailable)
		}
		r.Session.MustSet("theme", "dark")
		r.Response.Write("welcome")
	})
	server.Group("/account", func(group *ghttp.RouterGroup) {
		group.Middleware(web.LoggedIn)
		group.GET("/", func(r *ghttp.Request) {
			r.Response.Write(web.Principal(r), " likes it ", r.Session.MustGet("theme"))
		})
	})
	server.BindHandler("POST:/logout", func(r *ghttp.Request) {
		if err := web.Logout(r); err != nil {
			r.Response.WriteStatusExit(http.StatusServiceUnavailable)
		}
		r.Response.Write("goodbye")
	})
	server.SetAddr("127.0.0.1:0")
	server.SetDumpRouterMap(false)
	server.Logger().SetStdoutPrint(false)
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Shutdown()

	jar, _ := cookiejar.New(nil)
	visitor, site := http.Client{Jar: jar}, fmt.Sprintf("http://127.0.0.1:%d", server.GetListenedPort())
	show := func(response *http.Response, err error) {
		if err != nil {
			panic(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		fmt.Printf("%d %s\n", response.StatusCode, body)
	}
	show(visitor.Get(site + "/account"))
	show(visitor.PostForm(site+"/login", url.Values{"user": {"ann"}}))
	show(visitor.Get(site + "/account"))
	show(visitor.PostForm(site+"/logout", nil))
	show(visitor.Get(site + "/account"))
	// Output:
	// 401 Log in first.
	// 200 welcome
	// 200 ann likes it dark
	// 200 goodbye
	// 401 Log in first.
}

// A stream ends with its session, and says to the page why.
func ExampleUntil() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(), layer.Indexed(nil))
	server := ghttp.GetServer("events")
	server.Use(web.Sessions(chain))
	server.BindHandler("/events", func(r *ghttp.Request) {
		r.Response.Header().Set("Content-Type", "text/event-stream")
		over := web.Until(r)
		for tick := time.NewTicker(time.Second); ; {
			select {
			case at := <-tick.C:
				r.Response.Writef("data: %s\n\n", at.Format(time.TimeOnly))
				r.Response.Flush()
			case <-over.Done():
				tick.Stop()
				r.Response.Writef("event: ended\ndata: %s\n\n", layer.ReasonOf(context.Cause(over)))
				return
			}
		}
	})
}

// A page says why its visitor has to log in again, and lists where else he is logged in.
func ExampleReason() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(), layer.Indexed(nil))
	users := layer.Principals(chain)
	server := ghttp.GetServer("devices")
	server.Use(web.Sessions(chain))
	server.BindHandler("/devices", func(r *ghttp.Request) {
		principal := web.Principal(r)
		if principal == "" {
			r.Response.WriteStatusExit(401, "Log in. ", map[layer.Reason]string{
				layer.ReasonIdle:         "You were away for too long.",
				layer.ReasonDisplaced:    "You have logged in on another device.",
				layer.ReasonEndedByAdmin: "An administrator has logged you out.",
			}[web.Reason(r)])
		}
		own, err := web.Handle(r)
		if err != nil {
			r.Response.WriteStatusExit(503)
		}
		devices, _, err := users.List(r.Context(), principal, "")
		if err != nil {
			r.Response.WriteStatusExit(503)
		}
		for _, d := range devices {
			r.Response.Writefln("%s, %s, since %s%s", d.Described[layer.DescribedDevice], d.Described[layer.DescribedIP],
				d.Begun.Format(time.DateTime), map[bool]string{true: " (this one)"}[d.Handle == own])
		}
	})
}
