package web_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// An attack is run against the set-up that GoFrame's documentation shows, where it has to
// succeed, and against the middleware, where it must not. So none of them tests nothing.

// careless is a site as GoFrame's documentation has it: the storage is the server's, the log-in
// sets a key and the log-out removes all.
func careless(storage gsession.Storage) func(*ghttp.Server, *layer.Stack) {
	return func(server *ghttp.Server, _ *layer.Stack) {
		server.SetSessionStorage(storage)
		server.BindHandler("/get", func(r *ghttp.Request) { r.Response.Write(r.Session.MustGet("k").String()) })
		server.BindHandler("/set", func(r *ghttp.Request) { r.Session.MustSet("k", r.GetQuery("v", "v").String()) })
		server.BindHandler("/login", func(r *ghttp.Request) { r.Session.MustSet("user", "ann") })
		server.BindHandler("/logout", func(r *ghttp.Request) { _ = r.Session.RemoveAll() })
		server.BindHandler("/who", func(r *ghttp.Request) {
			if user := r.Session.MustGet("user").String(); user != "" {
				r.Response.Write(user, ";")
			}
		})
	}
}

// isAnn asks a site, with an id that an attacker has, whether he is Ann.
func isAnn(s *site, headers ...string) bool {
	return strings.HasPrefix(s.bare("/who", headers...).body, "ann;")
}

// works repeats an attack on the bare set-up until it succeeds: GoFrame's server closes sessions
// after the response has left, so that it may come too early.
func works(t *testing.T, attack func() bool) {
	t.Helper()
	poll.Until(t, "the attack works against the bare set-up", attack)
}

// both runs an attack on the careless site and on one with the middleware.
func both(t *testing.T, opts []web.Option, attack func(s *site) (succeeds bool)) {
	t.Helper()
	bare := serve(t, careless(gsession.NewStorageMemory()))
	works(t, func() bool { return attack(bare) })
	if mine := serve(t, standard(opts...)); attack(mine) {
		t.Error("the attack works")
	}
}

func TestAttackFixationByCookie(t *testing.T) {
	planted := strings.Repeat("attacker", 4)
	both(t, nil, func(s *site) bool {
		s.bare("/login", "Cookie", sends(planted)) // the victim's browser
		return isAnn(s, "Cookie", sends(planted))
	})
	// The attacker's own session, which the store knows, is no better.
	both(t, nil, func(s *site) bool {
		own := s.bare("/set").cookie.Value
		s.bare("/login", "Cookie", sends(own))
		return isAnn(s, "Cookie", sends(own))
	})
	both(t, []web.Option{web.AdoptUnknown()}, func(s *site) bool {
		s.bare("/login", "Cookie", sends(planted))
		return isAnn(s, "Cookie", sends(planted))
	})
}

func TestAttackFixationByHeader(t *testing.T) {
	planted := strings.Repeat("attacker", 4)
	both(t, nil, func(s *site) bool {
		s.bare("/login", cookieName, planted)
		return isAnn(s, cookieName, planted)
	})
	bearer := func(s *site) bool {
		s.bare("/login", "Authorization", "Bearer "+planted)
		return isAnn(s, "Authorization", "Bearer "+planted)
	}
	// GoFrame doesn't read the header: programs do, with a middleware of these lines.
	bare := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) {
			if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
				_ = r.Session.SetId(token)
			}
			r.Middleware.Next()
		})
		careless(gsession.NewStorageMemory())(server, chain)
	})
	works(t, func() bool { return bearer(bare) })
	if bearer(serve(t, standard(web.Bearer()))) {
		t.Error("the attack works by Authorization")
	}
}

// An id that nobody has given out is taken over, so that what is written under it is the
// attacker's to read.
func TestAttackUnknownId(t *testing.T) {
	unknown := strings.Repeat("0", 32)
	both(t, nil, func(s *site) bool {
		s.bare("/set", "Cookie", sends(unknown))
		return s.bare("/get", "Cookie", sends(unknown)).body == "v"
	})
}

// A text that can't be an id never reaches the store.
func TestAttackMalformedIds(t *testing.T) {
	malformed := []string{"x", "../../../etc/passwd", "a/b/c/d/e/f/g/h/i/j", strings.Repeat("x", 129), "id with spaces in it..",
		"app:config:production", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9", "{}[]()<>@,;:\\\"/?="}
	s := serve(t, standard(web.Header("X-Session")))
	for _, id := range malformed {
		s.bare("/get", "X-Session", id)
	}
	if reads, _ := s.store.counts(); reads > 0 {
		t.Errorf("%d malformed ids made %d reads", len(malformed), reads)
	}
	bare := &counted{Storage: gsession.NewStorageMemory()}
	b := serve(t, careless(bare))
	for _, id := range malformed {
		b.bare("/get", cookieName, id) // read before the response leaves
	}
	if reads, _ := bare.counts(); reads < len(malformed) {
		t.Errorf("the attack doesn't work against the bare set-up: %d reads", reads)
	}
}

// An id with a path in it has StorageFile write outside its folder.
func TestAttackTraversal(t *testing.T) {
	folder := func() (gsession.Storage, string) {
		dir := filepath.Join(t.TempDir(), "sessions")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return gsession.NewStorageFile(dir, life), filepath.Join(filepath.Dir(dir), "outside-the-folder.session")
	}
	attack := func(s *site, outside string) bool {
		s.bare("/set", "Cookie", sends("../outside-the-folder"))
		_, err := os.Stat(outside)
		return err == nil
	}
	storage, outside := folder()
	bare := serve(t, careless(storage))
	works(t, func() bool { return attack(bare, outside) })
	storage, outside = folder()
	if attack(serveOn(t, storage, standard()), outside) {
		t.Error("the attack works")
	}
}

// Without a prefix, an id that is the name of another key of Redis reads and overwrites it.
func TestAttackAnotherKey(t *testing.T) {
	redis := redistest.Start(t)
	client := redis.Client()
	reset := func() {
		if err := client.Set(context.Background(), "app:config:production", `{"k":"secret"}`, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	attack := func(s *site) bool {
		reset()
		read := s.bare("/get", "Cookie", sends("app:config:production")).body == "secret"
		s.bare("/set", "Cookie", sends("app:config:production"))
		return read || client.Get(context.Background(), "app:config:production").Val() != `{"k":"secret"}`
	}
	open := func() gsession.Storage {
		store, err := redisstore.Open(redis.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		return store
	}
	bare := serve(t, careless(gsession.NewStorageRedis(redis.GoFrame(t))))
	works(t, func() bool { return attack(bare) })
	if attack(serveOn(t, open(), standard())) {
		t.Error("the attack works")
	}
}

// A handler passes on a token that a client has sent as its session's id: one that is the name of another key, or of the
// note that a log-in leaves, reads, overwrites and removes nothing.
func TestAttackATokenThatIsNoID(t *testing.T) {
	redis := redistest.Start(t)
	client, ctx := redis.Client(), context.Background()
	store, err := redisstore.Open(redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(ctx) })
	routes := func(server *ghttp.Server) {
		server.BindHandler("/by-token", func(r *ghttp.Request) {
			if err := r.Session.SetId(r.GetQuery("token").String()); err != nil {
				t.Error(err)
			}
			switch data := r.Session.MustData(); r.GetQuery("do").String() {
			case "set":
				_ = r.Session.Set("k", "w")
			case "remove":
				_ = r.Session.Remove("k")
			case "end":
				_ = r.Session.RemoveAll()
			default:
				r.Response.Write(len(data) > 0 || !r.Session.MustGet("k").IsNil())
			}
		})
	}
	for name, c := range map[string]struct {
		mine, bare gsession.Storage
		plant      string
	}{
		"snapshot": {store, gsession.NewStorageRedis(redis.GoFrame(t)), "SET"},
		"direct":   {gsession.NewStorageRedisHashTable(redis.GoFrame(t)), gsession.NewStorageRedisHashTable(redis.GoFrame(t)), "HSET"},
	} {
		t.Run(name, func(t *testing.T) {
			mine := serveOn(t, c.mine, func(server *ghttp.Server, chain *layer.Stack) { standard()(server, chain); routes(server) })
			mine.bare("/renew", "Cookie", sends(mine.bare("/set").cookie.Value))
			notes := client.Keys(ctx, "moved.*").Val()
			if len(notes) == 0 {
				t.Error("the new id has left no note")
			}
			attack := func(s *site) (succeeds bool) {
				const token = "app:config:production"
				values := []any{"SET", token, `{"k":"secret"}`}
				if c.plant == "HSET" {
					values = []any{"HSET", token, "k", "secret"}
				}
				if err := errors.Join(client.Del(ctx, token).Err(), client.Do(ctx, values...).Err()); err != nil {
					t.Fatal(err)
				}
				before := client.Dump(ctx, token).Val()
				for _, do := range []string{"set", "remove", "end"} {
					s.bare("/by-token?do=" + do + "&token=" + token)
				}
				for _, id := range append(notes, token) {
					succeeds = succeeds || s.bare("/by-token?token="+id).body == "true"
				}
				return succeeds || client.Dump(ctx, token).Val() != before
			}
			works(t, func() bool {
				return attack(serve(t, func(server *ghttp.Server, _ *layer.Stack) { server.SetSessionStorage(c.bare); routes(server) }))
			})
			if attack(mine) {
				t.Error("the attack works")
			}
			if len(client.Keys(ctx, "moved.*").Val()) < len(notes) {
				t.Error("a note is gone")
			}
		})
	}
}

// A request that brings the id in each way at once has the one of its cookie, or of the header that the program names.
func TestAttackIDsInEveryPlace(t *testing.T) {
	for name, opts := range map[string][]web.Option{"cookie": nil, "header": {web.Header("X-Session"), web.Cookie(web.CookieOptions{})}} {
		s := serve(t, standard(opts...))
		mine, victim := s.bare("/login").cookie.Value, s.bare("/set?v=victim").cookie.Value
		places := []string{"Cookie", cookieName + " =" + victim + "; " + strings.ToUpper(cookieName) + "=" + victim + "; =" + sends(victim),
			cookieName, victim, "Authorization", "Bearer " + victim, "X-Session-Id", victim}
		own := []string{"Cookie", sends(`"` + mine + `"`)}
		if name == "header" {
			places, own = append(places, "Cookie", sends(victim)), []string{"X-Session", mine}
		}
		if got := s.bare("/who?"+sends(victim), append(places, own...)...).body; got != "ann;{}" {
			t.Errorf("%s: the session is %q", name, got)
		}
		if name == "header" {
			continue
		}
		if got := s.bare("/who?"+sends(victim), places...).body; got != ";{}" {
			t.Errorf("the session that no cookie names is %q", got)
		}
		for _, bad := range []string{victim + " ", victim + ",", "'" + victim + "'", `"` + victim, victim + "\t", strings.Repeat(victim, 40)} {
			if got := s.bare("/get", "Cookie", sends(bad+"x")).body; got != "" {
				t.Errorf("%q names a session", bad)
			}
		}
	}
}

// GoFrame's ids are the visitor's address and headers, the time and a counter, all of which can be
// had or tried, and three random digits: 46,656 of them.
func TestAttackGuessedIds(t *testing.T) {
	const draws = 2000
	random := func(s *site, part func(string) string) map[string]bool {
		seen := map[string]bool{}
		for range draws {
			r, _ := http.NewRequest(http.MethodGet, "/set", http.NoBody)
			w := &blank{header: http.Header{}}
			s.server.ServeHTTP(w, r)
			cookies := (&http.Response{Header: w.header}).Cookies()
			if len(cookies) != 1 {
				t.Fatalf("%d cookies", len(cookies))
			}
			seen[part(cookies[0].Value)] = true
		}
		return seen
	}
	if testing.Short() {
		t.Skip("draws thousands of ids")
	}
	// Two equal ones among 2,000 draws of 46,656 are as good as sure (1 in e^42 misses).
	bare := serve(t, careless(gsession.NewStorageMemory()))
	if got := random(bare, func(id string) string { return id[len(id)-3:] }); len(got) == draws {
		t.Error("what is random of GoFrame's ids never came twice")
	}
	mine := serve(t, standard())
	// 32 bits of ours: among 2,000 draws two are equal once in 2,000 runs; 8 equal ones never.
	for _, at := range []int{0, 5, 10, 15} {
		if got := random(mine, func(id string) string { return id[at : at+6] }); len(got) < draws-8 {
			t.Errorf("only %d different ones of %d at %d", len(got), draws, at)
		}
	}
}

func TestAttackReplayAfterLogOut(t *testing.T) {
	redis := redistest.Start(t)
	node := func() *site {
		store, err := redisstore.Open(redis.URL(), redisstore.Prefix("s:"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		return serveOn(t, store, standard())
	}
	one, two := node(), node()
	c := one.client()
	c.status("/login", http.StatusOK)
	id := c.want("/set", "set").cookie
	if id != nil {
		t.Fatal("a second cookie came")
	}
	stolen := one.cookieOf(c)
	for _, s := range []*site{one, two} {
		if !isAnn(s, "Cookie", sends(stolen)) {
			t.Fatal("the node doesn't know the session")
		}
	}
	c.status("/logout", http.StatusOK)
	if isAnn(one, "Cookie", sends(stolen)) {
		t.Fatal("the id still works after the log-out")
	}
	poll.Until(t, "the other node refuses the id", func() bool { return !isAnn(two, "Cookie", sends(stolen)) })
	if a := one.bare("/set", "Cookie", sends(stolen)); a.cookie == nil || a.cookie.Value == stolen {
		t.Error("the ended id is used again")
	}
}

// cookieOf is the session id that a browser has.
func (s *site) cookieOf(c *client) string {
	r, _ := http.NewRequest(http.MethodGet, s.base, nil)
	for _, cookie := range c.http.Jar.Cookies(r.URL) {
		if cookie.Name == cookieName {
			return cookie.Value
		}
	}
	return ""
}

// A request that runs while its user logs out writes the session back.
func TestAttackLogOutUndone(t *testing.T) {
	attack := func(routes func(*ghttp.Server, *layer.Stack)) bool {
		running, goOn := make(chan struct{}), make(chan struct{})
		s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
			routes(server, chain)
			server.BindHandler("/slow", func(r *ghttp.Request) {
				r.Session.MustSet("slow", "v")
				running <- struct{}{}
				<-goOn
			})
		})
		c := s.client()
		c.status("/login", http.StatusOK)
		stolen := s.cookieOf(c)
		done := make(chan struct{})
		go func() { s.bare("/slow", "Cookie", sends(stolen)); close(done) }()
		<-running
		c.status("/logout", http.StatusOK)
		goOn <- struct{}{}
		<-done
		return isAnn(s, "Cookie", sends(stolen))
	}
	// StorageMemory shares a map between requests; with Redis each writes the whole of its own.
	redis := redistest.Start(t)
	works(t, func() bool { return attack(careless(gsession.NewStorageRedis(redis.GoFrame(t)))) })
	if attack(standard()) {
		t.Error("the attack works")
	}
}

// A log-out and another request of the session overlap: in either order of their commits nobody is logged in afterwards,
// under whatever id, unless the other request is a log-in, which brings nothing back of what was ended.
func TestAttackLogOutWhileTheIdChanges(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		running, goOn := make(chan struct{}), make(chan struct{})
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			for path, do := range map[string]func(r *ghttp.Request) error{
				"/logout": web.Logout,
				"/renew":  func(r *ghttp.Request) error { _, err := r.Session.RegenerateId(true); return err },
				"/prove":  web.Reauthenticated,
				"/set":    func(r *ghttp.Request) error { return r.Session.Set("k", "v") },
				"/login":  func(r *ghttp.Request) error { return web.Login(r, "ann") },
			} {
				server.BindHandler("/slow"+path, func(r *ghttp.Request) {
					_ = r.Session.MustGet("k") // it has loaded the session
					running <- struct{}{}
					<-goOn
					_ = do(r) // which may be refused
				})
			}
		})
		for _, change := range []string{"/renew", "/prove"} {
			id := s.bare("/login").cookie.Value
			next := s.bare(change, "Cookie", sends(id)).cookie.Value
			s.bare("/logout", "Cookie", sends(id))
			if got := s.bare("/who", "Cookie", sends(next)).body; got != ";{}" {
				t.Errorf("%s, then a log-out by the id from before: the new id shows %q", change, got)
			}
		}
		for _, other := range []string{"/renew", "/prove", "/set", "/login"} {
			for _, slow := range []string{"/logout", other} {
				quick := "/logout"
				if slow == quick {
					quick = other
				}
				id := s.bare("/login").cookie.Value
				s.bare("/add?k=secret", "Cookie", sends(id))
				done := make(chan answer)
				go func() { done <- s.bare("/slow"+slow, "Cookie", sends(id)) }()
				<-running
				first := s.bare(quick, "Cookie", sends(id))
				goOn <- struct{}{}
				last := <-done
				for _, a := range []answer{first, last} {
					if a.cookie == nil || a.cookie.Value == "" {
						continue
					}
					got := s.bare("/who", "Cookie", sends(a.cookie.Value)).body
					if !strings.HasPrefix(got, ";") && other != "/login" || quick == "/logout" && strings.Contains(got, "secret") {
						t.Errorf("%s, then %s: a new id shows %q", quick, slow, got)
					}
				}
				if got := s.bare("/who", "Cookie", sends(id)).body; !strings.HasPrefix(got, ";") {
					t.Errorf("%s, then %s: the id shows %q", quick, slow, got)
				}
			}
		}
	})
}

// Another site's page posts the attacker's password, so that the visitor works in his account.
func TestAttackCrossSiteLogin(t *testing.T) {
	both(t, nil, func(s *site) bool {
		for _, from := range [][]string{
			{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
			{"Origin", "https://evil.example"}, // an older browser
		} {
			c := s.client()
			c.http.Jar = nil
			if a := c.do(http.MethodPost, "/login", from...); a.cookie != nil {
				return true
			}
		}
		return false
	})
	s := serve(t, standard())
	for _, from := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", s.base}, nil} {
		if a := s.client().do(http.MethodPost, "/login", from...); a.status != http.StatusOK || a.cookie == nil {
			t.Errorf("the site's own log-in with %v returned %d", from, a.status)
		}
	}
	trusting := serve(t, standard(web.TrustedOrigins("https://accounts.example.com")))
	for origin, status := range map[string]int{"https://accounts.example.com": http.StatusOK, "https://evil.example": http.StatusForbidden} {
		if a := trusting.client().do(http.MethodPost, "/login", "Origin", origin, "Sec-Fetch-Site", "cross-site"); a.status != status {
			t.Errorf("a log-in of %s returned %d", origin, a.status)
		}
	}
	api := serve(t, standard(web.Bearer()))
	if a := api.client().do(http.MethodPost, "/login", "Origin", "https://front.example"); a.status != http.StatusOK || a.body == "" || a.cookie != nil {
		t.Errorf("a log-in without cookies returned %d", a.status)
	}
}

func TestAttackCookieWithoutFlags(t *testing.T) {
	both(t, nil, func(s *site) bool {
		c := s.bare("/set", "X-Forwarded-Proto", "https, http").cookie // two proxies
		return !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || !c.Secure || !strings.HasPrefix(c.Name, "__Host-") || c.Domain != ""
	})
}

// A shared cache that keeps what one visitor got, by the rules, and gives it to the next.
func TestAttackSharedCache(t *testing.T) {
	keeps := func(a answer) bool {
		control := a.header.Get("Cache-Control")
		return !strings.Contains(control, "private") && !strings.Contains(control, "no-store")
	}
	both(t, nil, func(s *site) bool {
		first := s.bare("/set?v=secret")
		return keeps(first) || keeps(s.bare("/get", "Cookie", sends(first.cookie.Value)))
	})
	// The handler's own header isn't enough if the response brings an id.
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(web.Sessions(chain))
		server.BindHandler("/public", func(r *ghttp.Request) {
			r.Response.Header().Set("Cache-Control", "public, max-age=600")
			r.Session.MustSet("k", "v")
		})
		server.BindHandler("/checked", func(r *ghttp.Request) {
			r.Response.Header()["Cache-Control"] = []string{"No-Cache, must-revalidate", `s-maxage=60, private="X-User, X-Role", max-age=0`}
			r.Session.MustSet("k", "v")
		})
	})
	if a := s.bare("/checked"); a.header.Get("Cache-Control") != "private, no-cache, must-revalidate, max-age=0" {
		t.Errorf("what the handler says to the browser's cache is lost: %v", a.header["Cache-Control"])
	}
	if a := s.bare("/public"); a.cookie == nil || keeps(a) || a.header.Get("Vary") != "Cookie" {
		t.Errorf("a cache keeps a cookie: %v", a.header)
	}
	// Nor is what a middleware outside of it does once the handler is done.
	s = serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			switch r.URL.Path {
			case "/set":
				r.Response.Header().Set("Cache-Control", "public, max-age=600")
			case "/page":
				r.Response.Write(r.Session.MustGet("k"))
			}
		})
		standard()(server, chain)
		server.BindHandler("/page", func(r *ghttp.Request) { r.Response.Write("page of ") })
	})
	a := s.bare("/set")
	if keeps(a) {
		t.Errorf("a cache keeps a cookie: %v", a.header)
	}
	if a = s.bare("/page", "Cookie", sends(a.cookie.Value)); a.body != "page of v" || keeps(a) || a.header.Get("Vary") != "Cookie" {
		t.Errorf("a cache keeps %q: %v", a.body, a.header)
	}
	// Nor is what reaches the client past the middleware's writer.
	s = serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.BindHookHandler("/add", ghttp.HookBeforeOutput, func(*ghttp.Request) { panic("hook") })
		server.Use(func(r *ghttp.Request) {
			writer := r.Response.Writer.ResponseWriter
			r.Middleware.Next()
			r.Response.Writer.ResponseWriter = writer
		})
		standard()(server, chain)
	})
	for _, path := range []string{"/set", "/add?k=k"} {
		if a = s.bare(path); a.cookie == nil || keeps(a) || a.header.Get("Vary") != "Cookie" {
			t.Errorf("a cache keeps the cookie of %s: %v", path, a.header)
		}
	}
}

// Ids that nobody has given out, by the million: with Signed none reaches the store, and memory
// stays bounded in any case. GoFrame's set-up asks for each.
func TestAttackMadeUpIds(t *testing.T) {
	ids := 1_000_000
	switch {
	case testing.Short():
		ids = 20_000
	case raced:
		ids = 100_000
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	attack := func(ids int, store *counted, routes func(*ghttp.Server, *layer.Stack)) (reads int, heap int64) {
		chain := layer.Chain(store, layer.Local(layer.LoadTimeout(deadline)))
		defer func() { _ = chain.Close(context.Background()) }()
		s := serveChain(t, chain, routes)
		flood := func(n int) {
			for n := range n {
				id := sessionmap.NewID()
				if n%2 == 0 {
					id += id + id[:12] // as long as a signed one
				}
				r, _ := http.NewRequest(http.MethodGet, "/get", http.NoBody)
				r.Header.Set("Cookie", sends(id))
				s.server.ServeHTTP(&blank{header: http.Header{}}, r)
			}
		}
		flood(1000)
		before := heapNow()
		earlier, _ := store.counts()
		flood(ids)
		reads, _ = store.counts()
		heap = heapNow() - before
		runtime.KeepAlive(store)
		return reads - earlier, heap
	}
	for name, c := range map[string]struct {
		opts  []web.Option
		reads int
	}{"signed": {[]web.Option{web.Signed(key)}, 0}, "unsigned": {nil, ids}} {
		reads, heap := attack(ids, &counted{Storage: &timed{}}, standard(c.opts...))
		if reads > c.reads || heap > 128<<20 {
			t.Errorf("%s: %d ids made %d reads and left %d MiB", name, ids, reads, heap>>20)
		}
	}
	const few = 20_000
	bare := &counted{Storage: gsession.NewStorageMemory()}
	if reads, _ := attack(few, bare, careless(bare)); reads < few {
		t.Errorf("the attack doesn't work against the bare set-up: %d ids made %d reads", few, reads)
	}
}

func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// blank is a response that nobody reads.
type blank struct{ header http.Header }

func (b *blank) Header() http.Header         { return b.header }
func (b *blank) Write(p []byte) (int, error) { return len(p), nil }
func (b *blank) WriteHeader(int)             {}
func (b *blank) Flush()                      {}

// A cookie of 8 MB is refused by the server as it comes, and one that a generous server takes is
// no id, and isn't kept.
func TestAttackHugeCookie(t *testing.T) {
	huge := strings.Repeat("a", 8<<20)
	s := serve(t, standard())
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	go func() { _, _ = io.WriteString(conn, "GET /get HTTP/1.1\r\nHost: x\r\nCookie: "+sends(huge)+"\r\n\r\n") }()
	line := make([]byte, 12)
	if _, err := io.ReadFull(conn, line); err == nil && string(line) != "HTTP/1.1 431" {
		t.Errorf("the server says %q", line)
	}
	attack := func(store *counted, routes func(*ghttp.Server, *layer.Stack)) bool {
		chain := layer.Chain(store, layer.Local(layer.LoadTimeout(deadline)))
		defer func() { _ = chain.Close(context.Background()) }()
		generous := serveChain(t, chain, func(server *ghttp.Server, chain *layer.Stack) {
			server.SetMaxHeaderBytes(16 << 20)
			routes(server, chain)
		})
		for _, many := range []string{sends(huge), strings.Repeat(sends("x")+"; ", 1<<19)} {
			if a := generous.bare("/set", "Cookie", many); a.status != http.StatusOK {
				t.Errorf("%d", a.status)
			}
		}
		return store.longestID() > 128
	}
	store := &counted{Storage: gsession.NewStorageMemory()}
	works(t, func() bool { return attack(store, careless(store)) })
	if attack(&counted{Storage: gsession.NewStorageMemory()}, standard()) {
		t.Error("an id of megabytes reaches the store")
	}
}

// One site's keys make no ids of another, and a byte that differs is noticed.
func TestSignedIds(t *testing.T) {
	old, next, other := make([]byte, 32), make([]byte, 40), make([]byte, 32)
	for _, key := range [][]byte{old, next, other} {
		_, _ = rand.Read(key)
	}
	memory := gsession.NewStorageMemory()
	one := serveOn(t, memory, standard(web.Signed(old)))
	c := one.client()
	id := c.want("/set", "set").cookie.Value
	c.want("/get", "v")
	rotated := serveOn(t, memory, standard(web.Signed(next, old)))
	if a := rotated.bare("/get", "Cookie", sends(id)); a.body != "v" {
		t.Error("an id of the old key isn't known any more")
	}
	foreign := serveOn(t, memory, standard(web.Signed(other)))
	if a := foreign.bare("/get", "Cookie", sends(id)); a.body != "" {
		t.Error("an id of another key is accepted")
	}
	before, _ := one.store.counts()
	for n := range len(id) {
		changed := []byte(id)
		changed[n] = "ab"[btoi(changed[n] == 'a')]
		if a := one.bare("/get", "Cookie", sends(string(changed))); a.body != "" {
			t.Errorf("byte %d may be anything", n)
		}
	}
	if after, _ := one.store.counts(); after != before {
		t.Errorf("forged ids made %d reads", after-before)
	}
	for _, keys := range [][][]byte{nil, {make([]byte, 31)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("keys of %d bytes are taken", len(keys))
				}
			}()
			web.Sessions(memory, web.Signed(keys...))
		}()
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A cookie that a sister site has planted, or one from before the path or the domain was changed, comes
// before the session's own: the visitor isn't logged out by it, and can log in and out.
func TestAttackAnotherCookieOfTheName(t *testing.T) {
	for name, opts := range map[string][]web.Option{"plain": nil, "signed": {web.Signed(make([]byte, 32))}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, standard(opts...))
			c := s.client()
			c.status("/login", http.StatusOK)
			old := s.cookieOf(c)
			c.status("/logout", http.StatusOK)
			planted := []string{old, "malformed", strings.Repeat("0", 22)}
			before := sends(strings.Join(planted, "; "+cookieName+"=")) + "; "
			own := s.bare("/login", "Cookie", before+sends(planted[2])).cookie.Value
			if !isAnn(s, "Cookie", before+sends(own)) {
				t.Error("the planted cookie logs the visitor out")
			}
			if a := s.bare("/set", "Cookie", before+sends(own)); a.cookie != nil {
				t.Error("a change begins another session")
			}
			if a := s.bare("/logout", "Cookie", before+sends(own)); a.cookie == nil || a.cookie.MaxAge >= 0 {
				t.Errorf("the log-out left the cookie %v", a.cookie)
			}
			if isAnn(s, "Cookie", sends(own)) {
				t.Error("the log-out ended another session")
			}
			reads, _ := s.store.counts()
			s.bare("/get", "Cookie", strings.Repeat(sends(strings.Repeat("1", 22))+"; ", 100))
			if after, _ := s.store.counts(); after-reads > 4 {
				t.Errorf("a request with 100 cookies made %d reads", after-reads)
			}
		})
	}
}

// Browsers refuse a cookie with the prefix __Host- from a page without TLS or of a sister site, but take one whose name
// begins with white space beyond ASCII.
func TestAttackAPrefixBehindWhiteSpace(t *testing.T) {
	s := serve(t, standard())
	planted := "__Host-" + sends(s.bare("/set", "X-Forwarded-Proto", "https").cookie.Value)
	for _, space := range []string{"\u0085", "\u00a0", "\u2000", "\u3000"} {
		if got := s.bare("/get", "X-Forwarded-Proto", "https", "Cookie", "x=1; "+space+planted).body; got != "" {
			t.Errorf("%q before the name: the session is %q", space, got)
		}
	}
	if got := s.bare("/get", "X-Forwarded-Proto", "https", "Cookie", "x=1;\t "+planted+" \t; y=2").body; got != "v" {
		t.Errorf("the session is %q", got)
	}
}

// A cache that keeps what a visitor without a session sees serves it to such visitors alone.
func TestAttackSharedCacheOfVisitorsWithoutASession(t *testing.T) {
	s := serve(t, standard())
	if a := s.bare("/get"); a.header.Get("Vary") != "Cookie" {
		t.Errorf("a cache serves it to those who have one: %v", a.header)
	}
}

// Each order of three operations in one request, over both kinds of store and each state before it, leaves what they
// say, under an id that the client has, and nothing under the id that it had.
func TestEachOrderOfOperationsInARequest(t *testing.T) {
	type model struct {
		data      map[string]any
		principal string
		limited   bool
		kept      bool // the id from before may live on
		begun     bool // the response
		stored    bool // before that, so that the client has the id
	}
	exists := func(m *model) bool { return len(m.data) > 0 || m.principal != "" || m.limited }
	ended := func(m *model) { *m = model{data: map[string]any{}, begun: m.begun, kept: m.kept && m.begun} }
	operations := []struct {
		name string
		do   func(r *ghttp.Request) error
		// say changes the model, and reports whether the operation succeeds.
		say func(m *model) bool
	}{
		{"set", func(r *ghttp.Request) error { return r.Session.Set("k", "set") }, func(m *model) bool {
			if m.begun && !m.stored {
				return false
			}
			m.data["k"] = "set"
			return true
		}},
		{"remove", func(r *ghttp.Request) error { return r.Session.Remove("k") }, func(m *model) bool { delete(m.data, "k"); return true }},
		{"out", func(r *ghttp.Request) error { return r.Session.RemoveAll() }, func(m *model) bool { ended(m); return true }},
		{"log out", web.Logout, func(m *model) bool { ended(m); return true }},
		{"change", func(r *ghttp.Request) error { _, err := r.Session.RegenerateId(true); return err }, func(m *model) bool { return !m.begun }},
		{"keep", func(r *ghttp.Request) error { _, err := r.Session.RegenerateId(false); return err }, func(m *model) bool {
			m.kept = m.kept || !m.begun
			return !m.begun
		}},
		{"log in", func(r *ghttp.Request) error { return web.Login(r, "bob") }, func(m *model) bool {
			if !m.begun {
				m.principal, m.kept = "bob", false
			}
			return !m.begun
		}},
		{"limit", func(r *ghttp.Request) error { return web.SetLimits(r, 2*life, 0) }, func(m *model) bool {
			if !m.begun {
				m.limited, m.kept = true, false
			}
			return !m.begun
		}},
		{"flush", func(r *ghttp.Request) error { r.Response.Flush(); return nil }, func(m *model) bool {
			if !m.begun {
				m.begun, m.stored = true, m.stored || exists(m)
			}
			return true
		}},
	}
	befores := map[string]model{
		"nothing":   {},
		"a visitor": {data: map[string]any{"k": "v"}},
		"a user":    {principal: "ann"},
		"a user's":  {data: map[string]any{"k": "v"}, principal: "ann"},
	}
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		var (
			errs  []error
			steps [3]int
		)
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			server.BindHandler("/do", func(r *ghttp.Request) {
				errs = errs[:0]
				r.Response.Write("done")
				for _, n := range steps {
					errs = append(errs, operations[n].do(r))
				}
			})
		})
		who := func(id string) string { return s.call("/who", id).body }
		for before, state := range befores {
			for n, all := 0, len(operations); n < all*all*all; n++ {
				steps = [3]int{n % all, n / all % all, n / all / all}
				m, id := state, ""
				m.stored = exists(&m)
				m.data = maps.Clone(state.data)
				if m.data == nil {
					m.data = map[string]any{}
				}
				if len(m.data) > 0 {
					id = s.call("/set", id).cookie.Value
				}
				if m.principal != "" {
					id = s.call("/login", id).cookie.Value
				}
				a := s.call("/do", id)
				name := before
				for n, step := range steps {
					name += ", " + operations[step].name
					if ok := operations[step].say(&m); ok != (errs[n] == nil) {
						t.Errorf("%s returned %v", name, errs[n])
					}
				}
				next := id
				if a.cookie != nil {
					next = a.cookie.Value
				}
				text, err := json.Marshal(m.data)
				if err != nil {
					t.Fatal(err)
				}
				if want := m.principal + ";" + string(text); who(next) != want {
					t.Errorf("%s left %q, want %q", name, who(next), want)
				}
				if next != id && !m.kept && who(id) != ";{}" {
					t.Errorf("%s left %q under the id from before", name, who(id))
				}
				if t.Failed() {
					return // the others would most likely fail for the same reason
				}
			}
		}
	})
}

// A request over a direct store that writes after another one has logged out leaves nothing under the old id.
func TestAttackALateWriteOverADirectStore(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	store := teststore.NewKeys(nil)
	s := serveOn(t, store, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/slow", func(r *ghttp.Request) {
			_ = r.Session.MustGet("k")
			running <- struct{}{}
			<-goOn
			r.Session.MustSet("late", "v")
		})
	})
	c := s.client()
	c.want("/set", "set")
	old := c.status("/login", http.StatusOK).cookie.Value
	result := make(chan answer, 1)
	go func() { result <- s.bare("/slow", "Cookie", sends(old)) }()
	<-running
	c.status("/logout", http.StatusOK)
	goOn <- struct{}{}
	if a := <-result; a.status != http.StatusConflict {
		t.Errorf("the late write returned %d %q", a.status, a.body)
	}
	if data, err := store.Data(context.Background(), old); len(data) > 0 || err != nil {
		t.Errorf("under the id that was logged out is %v (%v)", data, err)
	}
}
