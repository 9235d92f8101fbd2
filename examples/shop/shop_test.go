package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// everyStore runs a test on each store that the shop can have.
func everyStore(t *testing.T, test func(t *testing.T, o options)) {
	t.Run("files", func(t *testing.T) { test(t, options{dir: t.TempDir()}) })
	t.Run("redis", func(t *testing.T) { test(t, options{redis: redistest.Start(t).URL()}) })
}

// run serves a shop within the test, with more routes if wanted, and returns its URL and its house.
func run(t *testing.T, o options, routes ...func(*ghttp.Server)) (string, house) {
	t.Helper()
	h, end, err := build(o, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	server, err := newServer(h, &trials{nodes: []string{base}, stop: t.Context(), name: "files"}, listener)
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
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return base, h
}

func TestVisit(t *testing.T) {
	everyStore(t, func(t *testing.T, o options) {
		base, _ := run(t, o)
		v := newVisitor(t, base)
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

// The shop without layers takes the same requests, and both count them by one rule.
func TestBothShopsCount(t *testing.T) {
	everyStore(t, func(t *testing.T, o options) {
		base, h := run(t, o)
		v := newVisitor(t, base)
		bare := v.plainly()
		v.wantGet(http.StatusOK, "/")
		bare.wantPost(http.StatusOK, "/visit", "")
		// A store that returns what it holds after a write spares the first look a load.
		if got := v.state().Counts; got.Writes != 1 || got.Hits+got.Loads != 1 {
			t.Errorf("the page and one look made %+v", got)
		}
		// The cache takes a session in a moment after it was loaded.
		for v.state().Counts.Hits == 0 {
			v.late()
		}
		before := v.state().Counts
		v.read("/state?watch=1")
		if after := v.state().Counts; after.Hits+after.Loads != before.Hits+before.Loads+1 {
			t.Errorf("what the page looks at by itself was counted: %+v after %+v", after, before)
		}
		v.takeAll()
		after := v.state().Counts
		if n := after.Writes - before.Writes; n < 1 || n > len(goods) {
			t.Errorf("%d requests took %d writes", len(goods), n)
		}
		v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
		if in := v.state().Counts; in.Writes <= after.Writes {
			t.Errorf("the counts didn't follow the visitor at log-in: %+v after %+v", in, after)
		}
		if o.redis != "" { // which notifies of what was written: the node reads it again
			for v.state().Counts.Rereads == 0 {
				v.late()
			}
		}

		// GoFrame writes a session after the response, so that a look may come before.
		for bare.state().Counts.Writes == 0 {
			bare.late()
		}
		first := bare.state().Counts
		for range 3 {
			bare.state()
		}
		second := bare.state().Counts
		if first.Writes != 1 || second.Loads-first.Loads != 4 || second.Writes != 1 || second.Hits != 0 || second.Rereads != 0 {
			t.Errorf("without layers four looks took %+v, after %+v", second, first)
		}
		bare.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
		for bare.state().User != "Ann" {
			bare.late()
		}
		if _, ok := h.plain.(*plain).Storage.(interface{ Unwrap() gsession.Storage }); ok {
			t.Error("the bare store has layers")
		}
		bare.wantPost(http.StatusOK, "/logout", "")
	})
}

// The trials behind the page's buttons end as Strata claims, and as they do without it.
func TestTrials(t *testing.T) {
	everyStore(t, func(t *testing.T, o options) {
		base, _ := run(t, o)
		v := newVisitor(t, base)
		in := languages["en"]
		for name, want := range map[string]compared{
			"logout": {
				Layers: outcome{true, in["still_out"], []string{"Log-out: done.", "Slow request: refused (409)."}},
				Plain:  outcome{false, in["in_again"], []string{"Log-out: done.", "Slow request: done."}},
			},
			"changes": {
				Layers: outcome{true, in["both_kept"], []string{"Bread: done.", "Tea: done."}},
				Plain:  outcome{false, in["one_lost"], []string{"Bread: done.", "Tea: done."}},
			},
		} {
			if got := v.try(name); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %+v", name, got)
			}
		}
		v.wantPost(http.StatusNotFound, "/try/outage", "") // this Redis, if any, isn't the shop's
		v.wantPost(http.StatusNotFound, "/try/nothing", "")
		v.wantPost(http.StatusNotFound, "/slow/unknown?item=tea", "")
	})
}

// Redis goes away and comes back: who is logged in stays so, and memory serves them meanwhile.
func TestTrialOfAnOutage(t *testing.T) {
	own, err := startRedis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.stop(); err != nil {
			t.Error(err)
		}
	})
	h, end, err := build(options{redis: own.url()}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	server, err := newServer(h, &trials{nodes: []string{base}, stop: t.Context(), redis: own, outage: 300 * time.Millisecond}, listener)
	if err != nil {
		t.Fatal(err)
	}
	server.SetErrorLogEnabled(false)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown() })
	v, in := newVisitor(t, base), languages["en"]
	got := v.try("outage")
	if !got.Layers.Good || got.Plain.Good || len(got.Plain.Acts) != 2 || !strings.HasPrefix(got.Plain.Acts[0], "0 of ") ||
		got.Layers.Acts[1] != in["act_back"] || got.Plain.Acts[1] != in["act_back"] {
		t.Errorf("%+v", got)
	}
}

// A start that is given up leaves no server and no folder.
func TestRedisThatIsNotWaitedFor(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if own, err := startRedis(ctx); err == nil {
		t.Errorf("started at port %d", own.port)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// One trial runs at a time, as one of them kills what the others need.
func TestOneTrialAtATime(t *testing.T) {
	all := &trials{stop: t.Context()}
	all.running.Lock()
	base, _ := run(t, options{dir: t.TempDir()}, func(server *ghttp.Server) {
		s := &shop{trials: all}
		server.BindHandler("POST:/busy/{trial}", s.change(s.try))
	})
	newVisitor(t, base).wantPost(http.StatusConflict, "/busy/logout", "")
}

func TestLanguages(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "de": "en", "zh-CN,zh;q=0.9,en;q=0.8": "zh", "en-GB,zh;q=0.9": "en", "en;q=0.5, ZH-hans;q=0.7": "zh", "zh;q=0": "en", "zh;q=x": "en",
	} {
		if got := preferred(header); got != want {
			t.Errorf("%q is %s, want %s", header, got, want)
		}
	}
	verbs := regexp.MustCompile(`%[a-z]`)
	for key, text := range languages["en"] {
		other := languages["zh"][key]
		if fmt.Sprint(verbs.FindAllString(text, -1)) != fmt.Sprint(verbs.FindAllString(other, -1)) || other == "" {
			t.Errorf("%s is %q and %q", key, text, other)
		}
	}
	if len(languages["en"]) != len(languages["zh"]) {
		t.Error("a language has texts of its own")
	}
	base, _ := run(t, options{dir: t.TempDir()})
	v := newVisitor(t, base)
	for header, want := range map[string][3]string{"": {`<html lang="en">`, "Log in", "A name has"}, "zh-CN,en;q=0.5": {`<html lang="zh-CN">`, "登录", "名字的长度"}} {
		page := v.ask(http.MethodGet, "/", http.Header{"Accept-Language": {header}})
		if !strings.Contains(page, want[0]) || !strings.Contains(page, want[1]) {
			t.Errorf("%q gets %s", header, page)
		}
		if said := v.ask(http.MethodPost, "/login", http.Header{"Accept-Language": {header}, ownHeader: {"1"}}); !strings.HasPrefix(said, want[2]) {
			t.Errorf("%q gets the error %s", header, said)
		}
		// Each text of the page is there.
		if strings.Contains(page, "<no value>") || strings.Contains(page, "ZgotmplZ") {
			t.Error("the page lacks a text")
		}
	}
}

func TestBadRequests(t *testing.T) {
	panics := func(server *ghttp.Server) {
		server.SetErrorLogEnabled(false)
		server.BindHandler("POST:/panic", func(*ghttp.Request) { panic("of the shop") })
	}
	base, _ := run(t, options{dir: t.TempDir()}, panics)
	v := newVisitor(t, base)
	for _, name := range []string{``, `{`, `{"name":""}`, `{"name":7}`, `{"name":"` + fmt.Sprintf("%041d", 0) + `"}`} {
		v.wantPost(http.StatusBadRequest, "/login", name)
	}
	v.wantPost(http.StatusNotFound, "/cart/unknown", "")
	v.wantPost(http.StatusNotFound, "/nowhere", "")
	v.wantPost(http.StatusInternalServerError, "/panic", "")
	v.wantGet(http.StatusNotFound, "/cart/tea") // only a POST changes anything
	if got := v.send(http.MethodPost, "/cart/tea", "", nil); got != http.StatusForbidden {
		t.Errorf("a request of another site got %d", got)
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
	quiet := func(server *ghttp.Server) { server.SetErrorLogEnabled(false) }
	base, _ := run(t, options{redis: redis.URL() + "?max_retries=-1"}, quiet)
	v := newVisitor(t, base)
	v.wantPost(http.StatusOK, "/cart/tea", "")
	redis.Stop()
	v.wantPost(http.StatusServiceUnavailable, "/cart/tea", "")
	redis.Restart(t)
	for v.post("/cart/tea", "") != http.StatusOK {
		v.late()
	}
}

// The tally hides nothing from the layers above it.
func TestCountersKeepBatches(t *testing.T) {
	everyStore(t, func(t *testing.T, o options) {
		store, _, end, err := open(o.redis, o.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = end() }()
		chain := newChain(store, newTally())
		defer func() { _ = chain.Close(context.Background()) }()
		_, had := store.(tiers.Batcher)
		if has := newTally().countStore()(store).(interface{ Batches() bool }).Batches(); has != had {
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
		tally.write(fmt.Sprint(n))
	}
	if len(tally.visitors) > maxVisitors {
		t.Errorf("the tally remembers %d visitors", len(tally.visitors))
	}
}
