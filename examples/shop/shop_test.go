package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// everyStore runs a test on each store that the shop can have.
func everyStore(t *testing.T, test func(t *testing.T, open func(t *testing.T) gsession.Storage)) {
	redis, dir := redistest.Start(t).URL(), t.TempDir()
	for name, url := range map[string]string{"files": "", "redis": redis} {
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T) gsession.Storage {
				t.Helper()
				store, closeStore, err := open(url, dir)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = closeStore() })
				return store
			})
		})
	}
}

// run serves a shop within the test, with more routes if wanted, and answers its URL.
func run(t *testing.T, store gsession.Storage, routes ...func(*ghttp.Server)) string {
	t.Helper()
	tally := newTally()
	chain := newChain(store, tally)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := newServer(chain, tally, listener)
	if err != nil {
		t.Fatal(err)
	}
	for _, bind := range routes {
		bind(server)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func TestVisit(t *testing.T) {
	everyStore(t, func(t *testing.T, open func(*testing.T) gsession.Storage) {
		v := newVisitor(t, run(t, open(t)))
		v.wantGet(http.StatusOK, "/")
		v.takeAll() // a new visitor's first requests may come all at once
		v.want(nil, "map[bread:1 cheese:1 tea:1]")

		before := v.cookie()
		v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
		if before.Value == "" || v.cookie().Value == before.Value {
			t.Error("the session's id didn't change at log-in")
		}
		v.want("Ann", "map[bread:1 cheese:1 tea:1]")
		knowing(t, v.base, before).want(nil, "map[]") // who had planted the id gains nothing

		for round := 2; round <= 20; round++ {
			v.takeAll()
			v.want("Ann", fmt.Sprintf("map[bread:%[1]d cheese:%[1]d tea:%[1]d]", round))
		}
		v.wantPost(http.StatusOK, "/logout", "")
		v.want(nil, "map[]")
	})
}

func TestCounts(t *testing.T) {
	everyStore(t, func(t *testing.T, open func(*testing.T) gsession.Storage) {
		v := newVisitor(t, run(t, open(t)))
		v.wantGet(http.StatusOK, "/")
		// A store that tells what it holds after a write spares the first look a load.
		if got := v.state().Layers; got.Writes != 1 || got.Hits+got.Loads != 1 {
			t.Errorf("the page and one look made %+v", got)
		}
		// The cache takes a session in a moment after it was loaded.
		for end := time.Now().Add(deadline); v.state().Layers.Hits == 0; {
			if time.Now().After(end) {
				t.Fatal("no look was answered from memory")
			}
		}
		before := v.state().Layers
		v.takeAll()
		after := v.state().Layers
		if n := after.Writes - before.Writes; n < 1 || n > len(goods) {
			t.Errorf("%d requests took %d writes", len(goods), n)
		}
		v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
		if in := v.state().Layers; in.Writes <= after.Writes {
			t.Errorf("the counts didn't follow the visitor at log-in: %+v after %+v", in, after)
		}
	})
}

// What a request does that was running when the visitor logged out is refused, and
// brings nothing back.
func TestLogOutHolds(t *testing.T) {
	everyStore(t, func(t *testing.T, open func(*testing.T) gsession.Storage) {
		running, release := make(chan struct{}), make(chan struct{})
		slow := func(server *ghttp.Server) {
			server.BindHandler("POST:/slow", func(r *ghttp.Request) {
				if err := r.Session.Set(cartKeys+"tea", 100); err != nil {
					fail(r, err)
				}
				close(running)
				<-release
			})
		}
		store := open(t)
		v := newVisitor(t, run(t, store, slow))
		v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
		status := make(chan int, 1)
		go func() { status <- v.post("/slow", "") }()
		<-running
		ended := v.cookie().Value
		v.wantPost(http.StatusOK, "/logout", "")
		close(release)
		if got := <-status; got != http.StatusConflict {
			t.Errorf("the running request answered %d", got)
		}
		v.want(nil, "map[]")
		read, err := sessionmap.Of(store).Load(context.Background(), ended, sessionLife)
		if err != nil || read.Snapshot != nil {
			t.Errorf("the store still has a session (%v)", err)
		}
	})
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	store, _, err := open("", dir)
	if err != nil {
		t.Fatal(err)
	}
	panics := func(server *ghttp.Server) {
		server.SetErrorLogEnabled(false)
		server.BindHandler("POST:/panic", func(*ghttp.Request) { panic("of the shop") })
	}
	v := newVisitor(t, run(t, store, panics))
	for _, name := range []string{``, `{`, `{"name":""}`, `{"name":7}`, `{"name":"` + fmt.Sprintf("%041d", 0) + `"}`} {
		v.wantPost(http.StatusBadRequest, "/login", name)
	}
	v.wantPost(http.StatusNotFound, "/cart/unknown", "")
	v.wantPost(http.StatusNotFound, "/nowhere", "")
	v.wantPost(http.StatusInternalServerError, "/panic", "")
	v.wantGet(http.StatusNotFound, "/cart/tea") // only a POST changes anything
	if got := v.send(http.MethodPost, "/cart/tea", "", nil); got != http.StatusForbidden {
		t.Errorf("a request of another site answered %d", got)
	}
	v.want(nil, "map[]")
	// An id that no store of ours gave gives way to a new one.
	foreign := knowing(t, v.base, &http.Cookie{Name: sessionName, Value: "../x", Path: "/"})
	foreign.wantPost(http.StatusOK, "/cart/tea", "")
	foreign.want(nil, "map[tea:1]")
}

// A store that is away is an answer, and the shop goes on when it is back.
func TestStoreAway(t *testing.T) {
	redis := redistest.Start(t)
	store, closeStore, err := open(redis.URL()+"?max_retries=-1", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeStore() })
	quiet := func(server *ghttp.Server) { server.SetErrorLogEnabled(false) }
	v := newVisitor(t, run(t, store, quiet))
	v.wantPost(http.StatusOK, "/cart/tea", "")
	redis.Stop()
	v.wantPost(http.StatusServiceUnavailable, "/cart/tea", "")
	redis.Restart(t)
	for end := time.Now().Add(deadline); v.post("/cart/tea", "") != http.StatusOK; {
		if time.Now().After(end) {
			t.Fatal("the shop doesn't find its store again")
		}
	}
}

// The tally hides nothing from the layers above it.
func TestCountersKeepBatches(t *testing.T) {
	everyStore(t, func(t *testing.T, open func(*testing.T) gsession.Storage) {
		store := open(t)
		chain := newChain(store, newTally())
		defer func() { _ = chain.Close(context.Background()) }()
		_, had := store.(tiers.Batcher)
		if _, has := newTally().countStore(store).(tiers.Batcher); has != had {
			t.Errorf("the store takes batches: %v, counted: %v", had, has)
		}
		if _, ok := layer.As[*outer](chain); !ok {
			t.Error("As doesn't find the outer decorator")
		}
	})
}

func TestTallyIsBounded(t *testing.T) {
	tally := newTally()
	for n := range maxVisitors + 10 {
		tally.hit(fmt.Sprint(n))
	}
	if len(tally.visitors) > maxVisitors {
		t.Errorf("the tally remembers %d visitors", len(tally.visitors))
	}
}
