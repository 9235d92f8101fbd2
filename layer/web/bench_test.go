package web_test

import (
	"crypto/rand"
	"net/http"
	"testing"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// BenchmarkRead is a request that reads one key, from memory: by ghttp's own session handling over
// the same chain, and by the middleware. The difference of the two is what the middleware costs.
func BenchmarkRead(b *testing.B) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	read := func(server *ghttp.Server) {
		server.BindHandler("/set", func(r *ghttp.Request) { r.Session.MustSet("k", "v") })
		server.BindHandler("/get", func(r *ghttp.Request) { r.Response.Write(r.Session.MustGet("k").String()) })
	}
	for _, c := range []struct {
		name   string
		routes func(*ghttp.Server, *layer.Stack)
	}{
		{"ghttp", func(server *ghttp.Server, chain *layer.Stack) { server.SetSessionStorage(chain); read(server) }},
		{"web", func(server *ghttp.Server, chain *layer.Stack) { server.Use(web.Sessions(chain)); read(server) }},
		{"web.Signed", func(server *ghttp.Server, chain *layer.Stack) {
			server.Use(web.Sessions(chain, web.Signed(key)))
			read(server)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := serveChain(b, layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.Exclusive())), c.routes)
			id := s.bare("/set").cookie.Value
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest(http.MethodGet, "/get", http.NoBody)
				r.Header["Cookie"] = []string{sends(id)}
				s.server.ServeHTTP(&blank{header: http.Header{}}, r)
			}
		})
	}
}
