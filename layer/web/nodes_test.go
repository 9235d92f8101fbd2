package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// node is a server of its own with a chain of its own over one Redis.
func node(t testing.TB, redis *redistest.Server, routes func(*ghttp.Server, *layer.Stack)) *site {
	t.Helper()
	store, err := redisstore.Open(redis.URL(), redisstore.Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	chain := layer.Chain(store, layer.Coalesced(layer.WriteTimeout(deadline)), layer.Local(layer.LoadTimeout(deadline)))
	t.Cleanup(func() { _ = chain.Close(context.Background()) })
	return serveChain(t, chain, routes)
}

// Requests of the old id run on one node while another one logs in: what they have committed
// is in the new session, those that end later are refused, and nothing of the old id comes back.
func TestALogInOnAnotherNode(t *testing.T) {
	redis := redistest.Start(t)
	client := redis.Client()
	const requests, fewer = 8, 5 // a change of id takes along what comes eight times in its way
	running, goOn := make(chan struct{}), make(chan struct{})
	one := node(t, redis, standard())
	two := node(t, redis, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/slow", func(r *ghttp.Request) {
			_ = r.Session.MustGet("k")
			running <- struct{}{}
			<-goOn
			r.Session.MustSet("slow", "v")
		})
	})
	for range 10 {
		c := one.client()
		old := c.want("/set", "set").cookie.Value
		var before, during sync.WaitGroup
		for n := range requests {
			before.Go(func() {
				if a := two.bare(fmt.Sprintf("/add?k=before%d", n), "Cookie", sends(old)); a.status != http.StatusOK {
					t.Errorf("before the log-in: %d", a.status)
				}
			})
		}
		before.Wait()
		slow := make(chan answer)
		go func() { slow <- two.bare("/slow", "Cookie", sends(old)) }()
		<-running
		var took [fewer]bool
		for n := range fewer {
			during.Go(func() {
				a := two.bare(fmt.Sprintf("/add?k=during%d", n), "Cookie", sends(old))
				if a.status != http.StatusOK && a.status != http.StatusConflict {
					t.Errorf("during the log-in: %d", a.status)
				}
				took[n] = a.status == http.StatusOK && a.cookie == nil
			})
		}
		in := c.status("/login", http.StatusOK)
		during.Wait()
		goOn <- struct{}{}
		if a := <-slow; a.status != http.StatusConflict || a.cookie != nil {
			t.Errorf("a request that ended after the log-in returned %d, cookie %v", a.status, a.cookie)
		}
		who := two.bare("/who", "Cookie", sends(in.cookie.Value)).body
		for n := range requests {
			if !strings.HasPrefix(who, "ann;") || !strings.Contains(who, fmt.Sprintf(`"before%d":`, n)) {
				t.Fatalf("what was committed before the log-in is lost: %s", who)
			}
		}
		for n, took := range took {
			if took && !strings.Contains(who, fmt.Sprintf(`"during%d":`, n)) {
				t.Fatalf("what was committed during the log-in is lost: %s", who)
			}
		}
		if strings.Contains(who, "slow") {
			t.Error("a refused change is there")
		}
		if client.Exists(context.Background(), "s:"+old).Val() != 0 {
			t.Error("the old session is in the store")
		}
		for end := time.Now().Add(deadline); two.bare("/who", "Cookie", sends(old)).body != ";{}"; {
			if time.Now().After(end) {
				t.Fatal("the old id is served on the other node")
			}
		}
		if got := one.bare("/who", "Cookie", sends(old)).body; got != ";{}" {
			t.Errorf("the old id shows %q on the node of the log-in", got)
		}
	}
}
