package online_test

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/online"
	"github.com/gf-strata/strata/layer/web"
)

// The page is for one user, who is asked for a fresh password by whatever leads to it.
func ExampleHandler() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(), layer.Indexed(nil))
	allow := func(r *http.Request) bool { return web.Principal(ghttp.RequestFromCtx(r.Context())) == "root" }
	audit := func(r *http.Request, a online.Action) {
		slog.InfoContext(context.WithoutCancel(r.Context()), "sessions were ended", "did", a.Did, "sessions", a.Sessions, "failed", a.Err != nil)
	}
	server := ghttp.GetServer("admin")
	server.Use(web.Sessions(chain))
	server.BindHandler("/admin/online", ghttp.WrapH(online.Handler(layer.Principals(chain), allow, audit)))
}
