package web_test

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

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
