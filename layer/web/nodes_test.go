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
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
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
		poll.Until(t, "the other node refuses the old id", func() bool { return two.bare("/who", "Cookie", sends(old)).body == ";{}" })
		if got := one.bare("/who", "Cookie", sends(old)).body; got != ";{}" {
			t.Errorf("the old id shows %q on the node of the log-in", got)
		}
	}
}

// Two log-ins of one session overlap, as a double click on the button has it: each succeeds with a session of its
// principal, which has nothing of the other one. So does a log-in that a log-out overlaps, without what was ended.
func TestLogInsOfOneSessionOverlap(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	routes := func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/enter", func(r *ghttp.Request) {
			_ = r.Session.MustGet("k")
			running <- struct{}{}
			<-goOn
			user := r.Get("user").String()
			if err := web.Login(r, user); err != nil {
				r.Response.WriteStatusExit(http.StatusConflict)
			}
			r.Session.MustSet("by", "nobody")
			r.Session.MustSet("kept", "v")
			r.Session.MustSet("dropped", "v")
			if r.Get("stream").Bool() {
				r.Response.Write("begun")
				r.Response.Flush()
			}
			r.Session.MustSet("by", user)
			r.Session.MustRemove("dropped")
		})
	}
	for name, sites := range map[string]func(t *testing.T) (one, two *site){
		"snapshots": func(t *testing.T) (one, two *site) {
			one = serveOn(t, gsession.NewStorageMemory(), routes)
			return one, one
		},
		"direct": func(t *testing.T) (one, two *site) {
			one = serveOn(t, teststore.NewKeys(nil), routes)
			return one, one
		},
		"two nodes": func(t *testing.T) (one, two *site) {
			redis := redistest.Start(t)
			return node(t, redis, routes), node(t, redis, routes)
		},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := sites(t)
			check := func(a answer, user string) {
				t.Helper()
				if a.status != http.StatusOK || a.cookie == nil {
					t.Errorf("the log-in of %s returned %d %q", user, a.status, a.body)
					return
				}
				for _, s := range []*site{one, two} {
					got := s.bare("/who", "Cookie", sends(a.cookie.Value)).body
					if !strings.HasPrefix(got, user+";") || !strings.Contains(got, `"by":"`+user+`"`) || !strings.Contains(got, `"kept":"v"`) || strings.Contains(got, "dropped") {
						t.Errorf("the session of %s is %s", user, got)
					}
				}
			}
			for _, users := range [][2]string{{"ann", "ann"}, {"ann", "bob"}} {
				for round, together := range []bool{false, true, true, false, true, true} {
					old := sends(one.client().want("/set", "set").cookie.Value)
					results := [2]chan answer{make(chan answer, 1), make(chan answer, 1)}
					for n, s := range []*site{one, two} {
						go func() {
							results[n] <- s.bare(fmt.Sprintf("/enter?user=%s&stream=%v", users[n], round > 2), "Cookie", old)
						}()
						<-running
					}
					var first, second answer
					if goOn <- struct{}{}; together {
						goOn <- struct{}{}
						first, second = <-results[0], <-results[1]
					} else {
						// Either of the two may be the one that goes on.
						select {
						case first = <-results[0]:
							goOn <- struct{}{}
							second = <-results[1]
						case second = <-results[1]:
							goOn <- struct{}{}
							first = <-results[0]
						}
					}
					check(first, users[0])
					check(second, users[1])
					if got := two.bare("/who", "Cookie", old).body; got != ";{}" {
						t.Errorf("the session from before is %s", got)
					}
				}
			}

			for _, entered := range []bool{false, true} {
				old := sends(one.client().want("/set", "set").cookie.Value)
				result := make(chan answer, 1)
				go func() { result <- two.bare("/enter?user=ann", "Cookie", old) }()
				<-running
				visitor := old
				if entered {
					visitor = sends(one.bare("/login", "Cookie", old).cookie.Value)
				}
				if a := one.bare("/logout", "Cookie", visitor); a.status != http.StatusOK {
					t.Error(a.status)
				}
				goOn <- struct{}{}
				late := <-result
				if check(late, "ann"); late.cookie != nil {
					if got := two.bare("/who", "Cookie", sends(late.cookie.Value)).body; strings.Contains(got, `"k"`) {
						t.Errorf("a log-in that a log-out overlaps brings back %s", got)
					}
				}
				for _, ended := range []string{old, visitor} {
					if got := two.bare("/who", "Cookie", ended).body; got != ";{}" {
						t.Errorf("after the log-out there is %s", got)
					}
				}
			}
		})
	}
}

// entrance has a server begin a session at /begin, and log ann in at /enter, which says when it runs and waits before it
// does so. Then it sends the token, and calls next.
func entrance(t *testing.T, server *ghttp.Server, chain *layer.Stack, running chan<- struct{}, goOn <-chan struct{}, next func(*ghttp.Request)) {
	standard(web.Bearer())(server, chain)
	server.BindHandler("/begin", func(r *ghttp.Request) {
		r.Session.MustSet("k", "v")
		r.Response.Write(web.Token(r))
	})
	server.BindHandler("/enter", func(r *ghttp.Request) {
		_ = r.Session.MustGet("k")
		running <- struct{}{}
		<-goOn
		if err := web.Login(r, "ann"); err != nil {
			t.Error(err)
		}
		r.Session.MustSet("own", "v")
		r.Response.Write(web.Token(r))
		r.Response.Flush()
		next(r)
	})
}

// The session that the later of two log-ins has begun and sent ends as any other if its request changes its id again, or
// logs out.
func TestWhatFollowsALateLogIn(t *testing.T) {
	for what, is := range map[string]struct {
		next func(r *ghttp.Request) error
		want string
	}{
		"a new id":       {func(r *ghttp.Request) error { _, err := r.Session.RegenerateId(true); return err }, `ann;{"more":"v","own":"v"}`},
		"another log-in": {func(r *ghttp.Request) error { return web.Login(r, "bob") }, `bob;{"more":"v","own":"v"}`},
		"a log-out":      {web.Logout, `;{"more":"v"}`},
	} {
		t.Run(what, func(t *testing.T) {
			bothKinds(t, func(t *testing.T, storage gsession.Storage) {
				running, goOn := make(chan struct{}), make(chan struct{})
				s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
					entrance(t, server, chain, running, goOn, func(r *ghttp.Request) {
						if err := is.next(r); err != nil {
							t.Error(err)
						}
						r.Session.MustSet("more", "v")
						r.Response.Write(" ", web.Token(r))
					})
				})
				who := func(token string) string { return s.bare("/who", "Authorization", "Bearer "+token).body }
				begun := s.bare("/begin").body
				result := make(chan answer, 1)
				go func() { result <- s.bare("/enter", "Authorization", "Bearer "+begun) }()
				<-running
				other := s.bare("/login", "Authorization", "Bearer "+begun).body
				goOn <- struct{}{}
				first, second, _ := strings.Cut((<-result).body, " ")
				if first == second || who(first) != ";{}" || who(second) != is.want {
					t.Errorf("the late session is %s under its first id, %s under its second one", who(first), who(second))
				}
				if who(begun) != ";{}" || who(other) != `ann;{"k":"v"}` {
					t.Errorf("the session from before is %s, that of the other log-in %s", who(begun), who(other))
				}
			})
		})
	}
}

// Where a principal has one session, a double click whose requests reach two nodes leaves one of them logged in.
func TestOverlappingLogInsUnderALimit(t *testing.T) {
	redis := redistest.Start(t)
	running, goOn := make(chan struct{}), make(chan struct{})
	var sites [2]*site
	for n := range sites {
		store, err := redisstore.Open(redis.URL(), redisstore.Prefix("s:"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		chain := layer.Chain(store, layer.Local(layer.LoadTimeout(deadline)), layer.Indexed(nil, layer.Limit(1, layer.EndOldest)))
		t.Cleanup(func() { _ = chain.Close(context.Background()) })
		sites[n] = serveChain(t, chain, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			server.BindHandler("/enter", func(r *ghttp.Request) {
				_ = r.Session.MustGet("k")
				running <- struct{}{}
				<-goOn
				if err := web.Login(r, r.Get("user").String()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	for round := range 30 {
		user := fmt.Sprintf("user%d", round)
		old := sends(sites[0].client().want("/set", "set").cookie.Value)
		var results [2]chan answer
		for n, s := range sites {
			results[n] = make(chan answer, 1)
			go func() { results[n] <- s.bare("/enter?user="+user, "Cookie", old) }()
			<-running
		}
		goOn <- struct{}{}
		goOn <- struct{}{}
		lives := 0
		for n := range sites {
			if a := <-results[n]; a.cookie != nil && strings.HasPrefix(sites[n].bare("/who", "Cookie", sends(a.cookie.Value)).body, user+";") {
				lives++
			}
		}
		if lives == 0 {
			t.Errorf("round %d: both log-ins are over", round)
		}
	}
}

// Over a direct store no source invalidates a node's memory. A log-out on another node stays in force nevertheless, for
// requests that have loaded the session before and change it after.
func TestALogOutOnAnotherNodeOverADirectStore(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	often := web.Cookie(web.CookieOptions{MaxAge: time.Millisecond}) // is sent with each change, and changes the record
	for name, is := range map[string]struct {
		change func(r *ghttp.Request)
		opts   []web.Option
	}{
		"set":         {func(r *ghttp.Request) { r.Session.MustSet("user", "ann") }, nil},
		"remove":      {func(r *ghttp.Request) { r.Session.MustRemove("k") }, nil},
		"a cookie":    {func(r *ghttp.Request) { r.Session.MustSet("user", "ann") }, []web.Option{often}},
		"only a read": {func(*ghttp.Request) {}, []web.Option{often}},
		"a new id":    {func(r *ghttp.Request) { r.Session.MustRegenerateId(true) }, nil},
		"a log-in":    {func(r *ghttp.Request) { _ = web.Login(r, "bob") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := teststore.NewKeys(nil)
			routes := func(server *ghttp.Server, chain *layer.Stack) {
				standard(is.opts...)(server, chain)
				server.BindHandler("/slow", func(r *ghttp.Request) {
					_ = r.Session.MustGet("k")
					running <- struct{}{}
					<-goOn
					is.change(r)
				})
			}
			one, two := serveOn(t, store, routes), serveOn(t, store, routes)
			c := one.client()
			c.want("/set", "set")
			id := c.status("/login", http.StatusOK).cookie.Value
			result := make(chan answer, 1)
			go func() { result <- one.bare("/slow", "Cookie", sends(id)) }()
			<-running
			for range 3 { // is in memory
				one.bare("/get", "Cookie", sends(id))
			}
			two.bare("/logout", "Cookie", sends(id))
			goOn <- struct{}{}
			switch a := <-result; {
			case name == "a log-in": // has a session of its own
				if a.cookie == nil || two.bare("/who", "Cookie", sends(a.cookie.Value)).body != "bob;{}" {
					t.Errorf("the late log-in returned %d, %v", a.status, a.cookie)
				}
			case name != "only a read" && a.status != http.StatusConflict || a.cookie != nil:
				t.Errorf("the late change returned %d, %v", a.status, a.cookie)
			}
			if left := store.Holds(id); len(left) > 0 {
				t.Errorf("under the id that was logged out is %v", left)
			}
			for _, s := range []*site{one, two} {
				if got := s.bare("/who", "Cookie", sends(id)).body; got != ";{}" {
					t.Errorf("the id that was logged out shows %s", got)
				}
			}
		})
	}
}

// The session of a late log-in, once it was sent, is ended as any other: a later write of its request doesn't bring it back.
func TestALateLogInThatIsEndedStaysEnded(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		running, goOn := make(chan struct{}), make(chan struct{})
		token := make(chan string, 1)
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			entrance(t, server, chain, running, goOn, func(r *ghttp.Request) {
				token <- web.Token(r)
				<-goOn
				r.Session.MustSet("more", "v")
			})
		})
		id := s.bare("/begin").body
		done := make(chan answer, 1)
		go func() { done <- s.bare("/enter", "Authorization", "Bearer "+id) }()
		<-running
		s.bare("/logout", "Authorization", "Bearer "+id)
		goOn <- struct{}{}
		in := <-token
		if got := s.bare("/who", "Authorization", "Bearer "+in).body; got != `ann;{"own":"v"}` {
			t.Errorf("late log-in: %s", got)
		}
		s.bare("/add?k=other", "Authorization", "Bearer "+in)
		s.bare("/logout", "Authorization", "Bearer "+in)
		goOn <- struct{}{}
		<-done
		if got := s.bare("/who", "Authorization", "Bearer "+in).body; got != `;{}` {
			t.Errorf("after the log-out: %s", got)
		}
	})
}
