package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// reasons is standard with routes that return reasons and handles.
func reasons(opts ...web.Option) func(*ghttp.Server, *layer.Stack) {
	return func(server *ghttp.Server, chain *layer.Stack) {
		standard(opts...)(server, chain)
		server.BindHandler("/why", why)
		server.BindHandler("/handle", func(r *ghttp.Request) {
			handle, err := web.Handle(r)
			if err != nil {
				t := r.Response
				t.WriteStatus(http.StatusBadGateway)
				return
			}
			r.Response.Write(handle)
		})
	}
}

func why(r *ghttp.Request) { r.Response.Write(web.Reason(r)) }

// Each end has its reason, whichever way the id comes. An id that was left for another one has none, nor has
// a session whose reason is forgotten.
func TestTheReasonOfEachEnd(t *testing.T) {
	const (
		idle     = 10 * time.Minute
		absolute = 25 * time.Minute
		keep     = time.Minute
	)
	carriers := map[string]struct {
		option web.Option
		header func(id string) (name, value string)
	}{
		"cookie": {web.Cookie(web.CookieOptions{}), func(id string) (string, string) { return "Cookie", sends(id) }},
		"bearer": {web.Bearer(), func(id string) (string, string) { return "Authorization", "Bearer " + id }},
		"header": {web.Header("X-Session"), func(id string) (string, string) { return "X-Session", id }},
		"cookies": {web.Cookie(web.CookieOptions{}), func(id string) (string, string) {
			return "Cookie", sends(sessionmap.NewID()) + "; " + sends(id) + "; " + sends(sessionmap.NewID())
		}},
	}
	stores := map[string]struct {
		open    func() gsession.Storage
		expires bool
	}{
		"snapshots": {func() gsession.Storage { return &timed{} }, true},
		"direct":    {func() gsession.Storage { return teststore.NewKeys(nil) }, false},
	}
	type call func(path, id string) (body string)
	ctx := context.Background()
	cases := []struct {
		name    string
		expires bool // needs a store whose sessions expire
		end     func(t *testing.T, call call, users *layer.Users, id string)
		reason  layer.Reason
	}{
		{"logged out", false, func(_ *testing.T, call call, _ *layer.Users, id string) { call("/logout", id) }, layer.ReasonLoggedOut},
		{"kicked", false, func(t *testing.T, _ call, users *layer.Users, id string) {
			handle, err := users.Handle(ctx, id)
			if err := errors.Join(err, users.Revoke(ctx, handle, layer.ReasonEndedByAdmin)); err != nil {
				t.Error(err)
			}
		}, layer.ReasonEndedByAdmin},
		{"revoked", false, func(t *testing.T, _ call, users *layer.Users, _ string) {
			if _, err := users.RevokeAll(ctx, "ann", layer.ReasonPasswordChanged); err != nil {
				t.Error(err)
			}
		}, layer.ReasonPasswordChanged},
		{"revoked with everybody", false, func(t *testing.T, _ call, users *layer.Users, _ string) {
			if err := users.RevokeEverybody(ctx, "closed"); err != nil {
				t.Error(err)
			}
		}, "closed"},
		{"limit", false, func(_ *testing.T, call call, _ *layer.Users, _ string) { call("/login", "") }, layer.ReasonDisplaced},
		{"replaced by a log-in", false, func(_ *testing.T, call call, _ *layer.Users, id string) { call("/login", id) }, ""},
		{"replaced by the handler", false, func(_ *testing.T, call call, _ *layer.Users, id string) { call("/renew", id) }, ""},
		{"replaced by a proof", false, func(_ *testing.T, call call, _ *layer.Users, id string) { call("/prove", id) }, ""},
		{"replaced, and later", false, func(_ *testing.T, call call, _ *layer.Users, id string) {
			call("/login", id)
			call("/why", id)
			time.Sleep(2 * idle)
		}, ""},
		{"kicked, and forgotten", false, func(t *testing.T, call call, users *layer.Users, id string) {
			if _, err := users.RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin); err != nil {
				t.Error(err)
			}
			call("/why", id)
			time.Sleep(2 * idle)
		}, ""},
		{"idle", true, func(*testing.T, call, *layer.Users, string) { time.Sleep(idle + time.Second) }, layer.ReasonIdle},
		{"expired", true, func(_ *testing.T, call call, _ *layer.Users, id string) {
			for range 5 {
				call("/get", id)
				time.Sleep(absolute/5 + time.Second)
			}
		}, layer.ReasonExpired},
		{"kicked before it had expired", true, func(t *testing.T, call call, users *layer.Users, id string) {
			for range 3 {
				call("/get", id)
				time.Sleep(absolute/3 - time.Second)
			}
			if _, err := users.RevokeAll(ctx, "ann", layer.ReasonEndedByAdmin); err != nil {
				t.Error(err)
			}
			time.Sleep(4 * time.Second)
		}, layer.ReasonEndedByAdmin},
	}
	for carrier, by := range carriers {
		for kind, store := range stores {
			for _, signed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, signed %t", carrier, kind, signed), func(t *testing.T) {
					options := []web.Option{by.option, web.Idle(idle), web.Absolute(absolute)}
					if signed {
						options = append(options, web.Signed(make([]byte, 32)))
					}
					var sessions ghttp.HandlerFunc // of the bubble
					s := serveChain(t, layer.Chain(gsession.NewStorageMemory()), func(server *ghttp.Server, _ *layer.Stack) {
						server.Use(func(r *ghttp.Request) { sessions(r) })
						handlers(server)
						server.BindHandler("/why", why)
						server.BindHandler("/visit", func(r *ghttp.Request) {
							r.Session.MustSet("k", "v")
							r.Response.Write(web.Token(r))
						})
					})
					call := func(path, id string) string {
						r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
						if id != "" {
							r.Header.Set(by.header(id))
						}
						s.server.ServeHTTP(w, r)
						if w.Code != http.StatusOK {
							t.Errorf("%s returned %d %q", path, w.Code, w.Body)
						}
						return w.Body.String()
					}
					synctest.Test(t, func(t *testing.T) {
						chain := layer.Chain(store.open(), layer.Snapshots(), layer.Indexed(nil, layer.Limit(1, layer.EndOldest), layer.KeepReasons(keep)))
						defer func() {
							if err := chain.Close(ctx); err != nil {
								t.Error(err)
							}
						}()
						users := layer.Principals(chain)
						sessions = web.Sessions(chain, options...)
						for _, c := range cases {
							if c.expires && !store.expires {
								continue
							}
							id := call("/login", "")
							if got := call("/why", id); got != "" {
								t.Errorf("%s: the session has ended for %q before it ended", c.name, got)
							}
							c.end(t, call, users, id)
							if got := call("/why", id); got != string(c.reason) {
								t.Errorf("%s: the reason is %q, want %q", c.name, got, c.reason)
							}
						}
						visitor := call("/visit", "")
						call("/logout", visitor)
						if got := call("/why", visitor); got != "" {
							t.Errorf("a visitor's session has ended for %q", got)
						}
					})
				})
			}
		}
	}
}

// A request that runs while its session is ended has the reason in the error of its commit.
func TestARunningRequestLearnsWhyItsSessionHasEnded(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		var users *layer.Users
		s := serveChain(t, layer.Chain(storage, layer.Snapshots(), layer.Indexed(nil)), func(server *ghttp.Server, chain *layer.Stack) {
			t.Cleanup(func() { _ = chain.Close(context.Background()) })
			users = layer.Principals(chain)
			standard(web.OnError(func(r *ghttp.Request, err error) { r.Response.WriteStatus(http.StatusConflict, layer.ReasonOf(err)) }))(server, chain)
			server.BindHandler("/kicked", func(r *ghttp.Request) {
				r.Session.MustSet("k", "w")
				if _, err := users.RevokeAll(context.Background(), "ann", layer.ReasonEndedByAdmin); err != nil {
					t.Error(err)
				}
			})
		})
		c := s.client()
		c.status("/login", http.StatusOK)
		if a := c.status("/kicked", http.StatusConflict); a.body != string(layer.ReasonEndedByAdmin) {
			t.Errorf("the reason is %q", a.body)
		}
		c.want("/who", ";{}")
	})
}

// The limits are known without an index.
func TestReasonsOfLimits(t *testing.T) {
	key := make([]byte, 32)
	for name, c := range map[string]struct {
		opts   []web.Option
		reason layer.Reason
	}{
		"idle":            {[]web.Option{web.Idle(time.Minute)}, layer.ReasonIdle},
		"signed idle":     {[]web.Option{web.Idle(time.Minute), web.Signed(key)}, layer.ReasonIdle},
		"absolute":        {[]web.Option{web.Absolute(time.Minute)}, layer.ReasonExpired},
		"signed absolute": {[]web.Option{web.Absolute(time.Minute), web.Signed(key)}, layer.ReasonExpired},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, reasons(c.opts...), func(t *testing.T, s *site) {
				id := s.call("/login", "").cookie.Value
				if got := s.call("/why", id).body; got != "" {
					t.Errorf("a session that lives has ended for %q", got)
				}
				time.Sleep(61 * time.Second)
				for range 2 {
					if got := s.call("/why", id).body; got != string(c.reason) {
						t.Errorf("the reason is %q, want %q", got, c.reason)
					}
				}
				if got := s.call("/why", sessionmap.NewID()).body + s.call("/why", "").body; got != "" {
					t.Errorf("an id that nobody had has ended for %q", got)
				}
			})
		})
	}
	// A log-out isn't taken for the end of an idle session.
	inTime(t, reasons(web.Idle(time.Minute)), func(t *testing.T, s *site) {
		id := s.call("/login", "").cookie.Value
		s.call("/logout", id)
		time.Sleep(2 * time.Minute)
		if got := s.call("/why", id).body; got != "" {
			t.Errorf("a log-out is taken for %q", got)
		}
	})
	// Nor is what another node has removed of a session that lives beyond the year 2106.
	const year = 365 * 24 * time.Hour
	inTime(t, reasons(web.Idle(100*year)), func(t *testing.T, s *site) {
		time.Sleep(30 * year)
		id := s.call("/login", "").cookie.Value
		if err := s.chain.RemoveAll(t.Context(), id); err != nil {
			t.Error(err)
		}
		if got := s.call("/why", id).body; got != "" {
			t.Errorf("a removed session is taken for %q", got)
		}
	})
}

// With an index each end has its reason, on every node; what is listed was shortened.
func TestReasonsAndDescriptionsAcrossNodes(t *testing.T) {
	redis := redistest.Start(t)
	open := func() *site {
		store, err := redisstore.Open(redis.URL(), redisstore.Prefix("s:"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		chain := layer.Chain(store, layer.Coalesced(layer.WriteTimeout(deadline)), layer.Local(layer.LoadTimeout(deadline)), layer.Indexed(nil))
		t.Cleanup(func() { _ = chain.Close(context.Background()) })
		return serveChain(t, chain, reasons())
	}
	one := open()
	two := one
	if _, ok := one.chain.Layers()[len(one.chain.Layers())-1].(principals.Index); ok {
		two = open()
	}
	why := func(s *site, id string, want layer.Reason) {
		t.Helper()
		got := ""
		if !poll.Try(func() bool {
			got = s.bare("/why", "Cookie", sends(id)).body
			return got == string(want)
		}) {
			t.Fatalf("the reason is %q, want %q", got, want)
		}
	}
	login := func() string {
		return one.bare("/login", "User-Agent", "Mozilla/5.0 (iPhone) Mobile/1", "X-Forwarded-For", "203.0.113.77").cookie.Value
	}
	id := login()
	why(two, id, "")
	one.bare("/logout", "Cookie", sends(id))
	why(two, id, layer.ReasonLoggedOut)
	why(one, id, layer.ReasonLoggedOut)

	id = login()
	users := layer.Principals(two.chain)
	list, _, err := users.List(context.Background(), "ann", "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if d := list[0].Described; len(d) != 2 || d["ip"] != "203.0.113.0/24" || d["device"] != "mobile" {
		t.Errorf("kept is %v", d)
	}
	for _, s := range []*site{one, two} {
		if got := s.bare("/handle", "Cookie", sends(id)).body; got != list[0].Handle {
			t.Errorf("the caller's handle is %q, want %q", got, list[0].Handle)
		}
	}
	if got := one.bare("/handle"); got.body != "" || got.status != http.StatusOK {
		t.Errorf("a visitor has the handle %q", got.body)
	}
	if err := users.Revoke(context.Background(), list[0].Handle, layer.ReasonEndedByAdmin); err != nil {
		t.Fatal(err)
	}
	why(one, id, layer.ReasonEndedByAdmin)

	// An id that was left for another one has no reason, and the one it was left for is listed.
	id = login()
	next := one.bare("/login", "Cookie", sends(id)).cookie.Value
	why(two, id, "")
	if list, _, err := users.List(context.Background(), "ann", ""); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if n, err := users.RevokeAll(context.Background(), "ann", layer.ReasonPasswordChanged); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	why(one, next, layer.ReasonPasswordChanged)
}

func TestDescribed(t *testing.T) {
	agents := map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120":                     "desktop",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605":               "desktop",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148":     "mobile",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) Mobile Safari/537":               "mobile",
		"Mozilla/5.0 (Linux; Android 14; SM-X900) Safari/537":                      "tablet",
		"Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X)":                            "tablet",
		"Mozilla/5.0 (Linux; Android 13) Mobile MicroMessenger/8.0":                "mobile",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "bot",
		"curl/8": "other", "": "other",
	}
	addresses := map[string]string{
		"203.0.113.77": "203.0.113.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1::/48", "::ffff:203.0.113.9": "203.0.113.0/24",
		"fe80::1%eth0": "fe80::/48", "not an address": "",
	}
	s := serve(t, func(server *ghttp.Server, _ *layer.Stack) {
		server.BindHandler("/described", func(r *ghttp.Request) { r.Response.WriteJson(web.Described(r)) })
	})
	described := func(headers ...string) (d map[string]string) {
		if err := json.Unmarshal([]byte(s.bare("/described", headers...).body), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for agent, class := range agents {
		if d := described("User-Agent", agent); d["device"] != class {
			t.Errorf("%q is a %q, want %q", agent, d["device"], class)
		}
	}
	for address, want := range addresses {
		if d := described("X-Forwarded-For", address); d["ip"] != want {
			t.Errorf("%s is kept as %q, want %q", address, d["ip"], want)
		}
	}
	// A program keeps what it wants.
	var kept []string
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Indexed(nil))
	defer func() { _ = chain.Close(context.Background()) }()
	own := serveChain(t, chain, standard(web.Describe(func(r *ghttp.Request) map[string]string {
		return map[string]string{"app": r.Header.Get("X-App")}
	})))
	for _, app := range []string{"one", "two"} {
		own.bare("/login", "X-App", app)
	}
	list, _, err := layer.Principals(chain).List(context.Background(), "ann", "")
	for _, info := range list {
		kept = append(kept, info.Described["app"])
	}
	slices.Sort(kept)
	if err != nil || !slices.Equal(kept, []string{"one", "two"}) {
		t.Errorf("kept is %v, %v", kept, err)
	}
}

// A log-in beyond the limit isn't a failure of the server: a proxy would take 503 for one.
func TestALogInBeyondTheLimit(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.LoadTimeout(deadline)), layer.Indexed(nil, layer.Limit(1, layer.RefuseNew)),
		layer.Traced(layer.Logger(slog.New(slog.DiscardHandler))))
	t.Cleanup(func() { _ = chain.Close(context.Background()) })
	s := serveChain(t, chain, standard())
	one, two := s.client(), s.client()
	one.status("/login", http.StatusOK)
	two.want("/set", "set")
	two.status("/login", http.StatusConflict)
	two.want("/who", `;{"k":"v"}`)
	one.status("/logout", http.StatusOK)
	two.status("/login", http.StatusOK)
	two.want("/who", `ann;{"k":"v"}`)
}
