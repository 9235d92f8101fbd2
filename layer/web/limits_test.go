package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
)

// A log-in changes the id, keeps the data and ends the old id; so does proving again who one is.
func TestLoginChangesTheIdAndKeepsTheData(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/again", func(r *ghttp.Request) {
			if err := web.Reauthenticated(r); err != nil {
				r.Response.WriteStatus(http.StatusForbidden, err)
			}
		})
		server.BindHandler("/fresh", func(r *ghttp.Request) {
			within, _ := time.ParseDuration(r.GetQuery("within").String())
			r.Response.Write(web.Fresh(r, within))
		})
		server.BindHandler("/nobody", func(r *ghttp.Request) {
			if web.Login(r, strings.Repeat("a", 1025)) == nil || web.Login(r, "") == nil || web.SetLimits(r, -1, 0) == nil {
				t.Error("no principal, and a limit below 0, are taken")
			}
			if web.Login(r, "\xd5\xc5") == nil { // JSON would make it the same as any other two bytes
				t.Error("a principal in GBK is taken")
			}
		})
	})
	c := s.client()
	c.status("/again", http.StatusForbidden)
	c.want("/fresh?within=1h", "false")
	ids := map[string]bool{c.want("/set", "set").cookie.Value: true}
	for _, path := range []string{"/login", "/again", "/login", "/again"} {
		a := c.status(path, http.StatusOK)
		if a.cookie == nil || ids[a.cookie.Value] {
			t.Fatalf("%s didn't change the id", path)
		}
		if path == "/login" && a.body != a.cookie.Value {
			t.Error("Token isn't the new id")
		}
		for old := range ids {
			if got := s.bare("/who", "Cookie", sends(old)).body; got != ";{}" {
				t.Errorf("after %s an old id shows %q", path, got)
			}
		}
		ids[a.cookie.Value] = true
		c.want("/who", `ann;{"k":"v"}`)
	}
	c.want("/fresh?within=1h", "true")
	c.want("/fresh?within=0s", "false")
	c.status("/nobody", http.StatusOK)
	if a := c.status("/logout", http.StatusOK); a.cookie == nil || a.cookie.MaxAge >= 0 {
		t.Errorf("the log-out left the cookie %v", a.cookie)
	}
	c.want("/who", ";{}")
}

// A handler of GoFrame's habit is as safe: RegenerateId, RemoveAll, and both with more
// after them.
func TestHandlersWrittenForGoFrameAloneWork(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/regenerate", func(r *ghttp.Request) {
			r.Session.MustSet("user", "ann")
			r.Response.Write(r.Session.MustRegenerateId(true))
			r.Session.MustSet("more", "v")
		})
		server.BindHandler("/out", func(r *ghttp.Request) {
			if err := r.Session.RemoveAll(); err != nil {
				t.Error(err)
			}
		})
		server.BindHandler("/out-and-in", func(r *ghttp.Request) {
			if err := r.Session.RemoveAll(); err != nil {
				t.Error(err)
			}
			r.Session.MustSet("flash", "bye")
		})
		server.BindHandler("/logout-and-in", func(r *ghttp.Request) {
			if err := web.Logout(r); err != nil {
				t.Error(err)
			}
			r.Session.MustSet("flash", "bye")
			r.Response.Write(web.Token(r))
		})
	})
	c := s.client()
	first := c.want("/set", "set").cookie.Value
	a := c.status("/regenerate", http.StatusOK)
	if a.cookie == nil || a.cookie.Value != a.body || a.body == first {
		t.Error("the new id isn't the cookie's")
	}
	c.want("/who", `;{"k":"v","more":"v","user":"ann"}`)
	if got := s.bare("/get", "Cookie", sends(first)).body; got != "" {
		t.Error("the old id lives on")
	}
	if a := c.status("/out", http.StatusOK); a.cookie == nil || a.cookie.MaxAge >= 0 {
		t.Error("RemoveAll left the cookie")
	}
	for _, path := range []string{"/out-and-in", "/logout-and-in"} {
		before := c.want("/set", "set").cookie
		if before == nil {
			t.Fatal("no session began")
		}
		a := c.status(path, http.StatusOK)
		if a.cookie == nil || a.cookie.Value == before.Value || a.cookie.MaxAge <= 0 {
			t.Errorf("%s: what came after the log-out is under the ended id", path)
		}
		if path == "/logout-and-in" && a.body != a.cookie.Value {
			t.Error("Token is the ended id")
		}
		c.want("/who", `;{"flash":"bye"}`)
		if got := s.bare("/get", "Cookie", sends(before.Value)).body; got != "" {
			t.Error("the ended id lives on")
		}
		c.status("/out", http.StatusOK)
	}
}

// Handlers neither see the reserved key nor can they change it.
func TestHandlersNeitherSeeNorChangeTheReservedKey(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/forge", func(r *ghttp.Request) {
			r.Session.MustSet("strata.web", "1;1;1;1;0;0;root")
			r.Session.MustSet("k", "w")
		})
		server.BindHandler("/flush", func(r *ghttp.Request) {
			r.Session.MustSet("k", "w")
			r.Response.Write(r.Session.MustSize())
			r.Response.Flush() // commits
			r.Response.Write(r.Session.MustSize())
		})
		server.BindHandler("/size", func(r *ghttp.Request) {
			r.Response.Write(r.Session.MustSize(), r.Session.MustContains("strata.web"))
		})
	})
	c := s.client()
	c.want("/set", "set")
	c.want("/flush", "11")
	c.status("/forge", http.StatusOK)
	c.want("/who", `;{"k":"w"}`)
	c.status("/login", http.StatusOK)
	c.status("/forge", http.StatusOK)
	c.want("/who", `ann;{"k":"w"}`)
	c.want("/size", "1false")
	fresh := s.client()
	fresh.status("/forge", http.StatusOK)
	fresh.want("/who", `;{"k":"w"}`)
}

// Requests that overlap a log-in can't bring back what they had read, and lose nothing that was
// committed before it.
func TestOverlapsOfALogin(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/slowlogin", func(r *ghttp.Request) {
			_ = r.Session.MustGet("k") // what it has loaded is old by the time it commits
			running <- struct{}{}
			<-goOn
			if err := web.Login(r, "ann"); err != nil {
				t.Error(err)
			}
		})
	})
	c := s.client()
	c.want("/set", "set")
	done := make(chan answer)
	go func() { done <- c.get("/slowlogin") }()
	<-running
	c.want("/add?k=meanwhile", "added")
	goOn <- struct{}{}
	if a := <-done; a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	c.want("/who", `ann;{"k":"v","meanwhile":"v"}`)
}

// Many requests of an old id around a log-in: each is either in the new session or was refused.
func TestNothingCommittedIsLostAtALogin(t *testing.T) {
	s := serve(t, standard())
	for range 20 {
		c := s.client()
		old := c.want("/set", "set").cookie.Value
		var (
			group sync.WaitGroup
			mu    sync.Mutex
			took  []string
		)
		for _, k := range strings.Split("abcdefgh", "") {
			group.Go(func() {
				a := s.bare("/add?k="+k, "Cookie", sends(old))
				mu.Lock()
				defer mu.Unlock()
				if a.status == http.StatusOK && a.cookie == nil {
					took = append(took, k)
				}
			})
		}
		in := c.status("/login", http.StatusOK)
		group.Wait()
		got := s.bare("/who", "Cookie", sends(in.cookie.Value)).body
		for _, k := range took {
			if !strings.Contains(got, `"`+k+`":`) {
				t.Errorf("%s was committed and is lost: %s", k, got)
			}
		}
	}
}

// timed is a store of sessions in the memory of a test, whose clock is the test's: in a bubble of
// testing/synctest it is the bubble's. mu guards the sessions.
type timed struct {
	gsession.StorageBase
	longer   time.Duration // than it is asked to keep sessions
	mu       sync.Mutex
	sessions map[string]timedSession
}

type timedSession struct {
	content []byte
	until   time.Time
}

func (s *timed) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, ok := s.sessions[id]
	if !ok || !time.Now().Before(is.until) {
		return nil, nil
	}
	data := map[string]any{}
	err := json.Unmarshal(is.content, &data)
	return gmap.NewStrAnyMapFrom(data, true), err
}

func (s *timed) SetSession(_ context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	content, err := json.Marshal(data.Map())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil {
		s.sessions = map[string]timedSession{}
	}
	s.sessions[id] = timedSession{content, time.Now().Add(ttl + s.longer)}
	return err
}

func (s *timed) UpdateTTL(_ context.Context, id string, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is, ok := s.sessions[id]; ok && time.Now().Before(is.until) {
		is.until = time.Now().Add(ttl)
		s.sessions[id] = is
	}
	return nil
}

func (s *timed) RemoveAll(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
	return nil
}

// inTime runs a test in a bubble, where time passes as it sleeps. Its requests reach the server as
// calls, since a connection would hold the bubble's clock.
func inTime(t *testing.T, routes func(*ghttp.Server, *layer.Stack), test func(t *testing.T, s *site)) {
	t.Helper()
	s := serveChain(t, layer.Chain(&timed{}), routes)
	synctest.Test(t, func(t *testing.T) { test(t, s) })
}

// call sends a request with an id, as a call.
func (s *site) call(path, id string) answer {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if id != "" {
		r.Header.Set("Cookie", sends(id))
	}
	s.server.ServeHTTP(w, r)
	got := w.Result()
	a := answer{status: got.StatusCode, body: w.Body.String(), header: got.Header}
	if cookies := got.Cookies(); len(cookies) > 0 {
		a.cookie = cookies[0]
	}
	return a
}

// Times of a length that no unit can hold are refused, or are 100 years where the server has them.
func TestLimitsThatAreTooLong(t *testing.T) {
	const century, ever = 100 * 365 * 24 * time.Hour, time.Duration(math.MaxInt64)
	for name, opt := range map[string]web.Option{
		"Idle": web.Idle(ever), "Absolute": web.Absolute(ever), "MaxAge": web.Cookie(web.CookieOptions{MaxAge: ever}),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of %v is taken", name, ever)
				}
			}()
			web.Sessions(gsession.NewStorageMemory(), opt)
		}()
	}
	for name, opts := range map[string][]web.Option{"plain": nil, "signed": {web.Signed(make([]byte, 32))}} {
		inTime(t, func(server *ghttp.Server, chain *layer.Stack) {
			server.SetSessionMaxAge(ever)
			standard(opts...)(server, chain)
			server.BindHandler("/limits", func(r *ghttp.Request) {
				for _, d := range [][2]time.Duration{{ever, 0}, {0, ever}, {century + 1, 0}} {
					if web.SetLimits(r, d[0], d[1]) == nil {
						t.Errorf("%s: %v are taken", name, d)
					}
				}
				if err := errors.Join(web.Login(r, "ann"), web.SetLimits(r, century, century)); err != nil {
					t.Error(err)
				}
			})
		}, func(t *testing.T, s *site) {
			for _, path := range []string{"/login", "/limits"} {
				a := s.call(path, "")
				if a.cookie == nil || a.cookie.MaxAge != int(century/time.Second) {
					t.Fatalf("%s, %s: the cookie is %v", name, path, a.cookie)
				}
				if got := s.call("/who", a.cookie.Value).body; got != "ann;{}" {
					t.Errorf("%s, %s: the session is %q", name, path, got)
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const short = 400 * time.Millisecond
	for name, c := range map[string]struct {
		opts []web.Option
		path string
	}{
		"idle":              {[]web.Option{web.Idle(short)}, "/login"},
		"absolute":          {[]web.Option{web.Absolute(short)}, "/login"},
		"signed absolute":   {[]web.Option{web.Absolute(short), web.Signed(make([]byte, 32))}, "/login"},
		"own idle":          {nil, "/limits?idle=400ms"},
		"own absolute":      {nil, "/limits?absolute=400ms"},
		"own over absolute": {[]web.Option{web.Absolute(time.Hour)}, "/limits?absolute=400ms"},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(server *ghttp.Server, chain *layer.Stack) {
				standard(c.opts...)(server, chain)
				server.BindHandler("/limits", func(r *ghttp.Request) {
					idle, _ := time.ParseDuration(r.GetQuery("idle").String())
					absolute, _ := time.ParseDuration(r.GetQuery("absolute").String())
					if err := web.SetLimits(r, idle, absolute); err != nil {
						t.Error(err)
					}
				})
			}, func(t *testing.T, s *site) {
				id := s.call("/login", "").cookie.Value
				if a := s.call(c.path, id); a.cookie == nil {
					t.Fatalf("%s sent no cookie", c.path)
				} else {
					id = a.cookie.Value
				}
				// The cookie ends with the session, so that the browser forgets it: the attacker
				// doesn't.
				for range 2 {
					time.Sleep(short - time.Millisecond)
					if got := s.call("/who", id).body; got != "ann;{}" {
						t.Fatalf("the session ended early: %q", got)
					}
					if !strings.Contains(name, "idle") {
						time.Sleep(time.Millisecond)
						break
					}
				}
				if strings.Contains(name, "idle") {
					time.Sleep(short) // no request is what is waited for
				}
				if got := s.call("/who", id).body; got != ";{}" {
					t.Fatalf("the session doesn't end: %q", got)
				}
			})
		})
	}
}

// A log-in without "remember me" isn't remembered because the one before it was.
func TestALogInTakesNoLimitsAlong(t *testing.T) {
	s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/remember", func(r *ghttp.Request) {
			if err := errors.Join(web.Login(r, "bob"), web.SetLimits(r, 10*life, 20*life)); err != nil {
				t.Error(err)
			}
		})
	})
	c := s.client()
	for _, is := range []struct {
		path string
		life time.Duration
	}{{"/remember", 10 * life}, {"/prove", 2 * life}, {"/remember", 10 * life}, {"/login", life}} {
		if a := c.status(is.path, http.StatusOK); a.cookie == nil || time.Duration(a.cookie.MaxAge)*time.Second != is.life {
			t.Errorf("after %s the cookie is %v, want one for %v", is.path, a.cookie, is.life)
		}
	}
}

// An id whose limit is over is neither adopted nor taken from a handler.
func TestAnIDThatIsOverIsNotAdopted(t *testing.T) {
	for name, opts := range map[string][]web.Option{
		"plain":  {web.AdoptUnknown()},
		"signed": {web.AdoptUnknown(), web.Signed(make([]byte, 32))},
		"own":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := serveChain(t, layer.Chain(&timed{longer: life}), func(server *ghttp.Server, chain *layer.Stack) {
				standard(append(opts, web.Absolute(time.Minute))...)(server, chain)
				server.BindHandler("/own", func(r *ghttp.Request) {
					if err := r.Session.SetId(r.GetQuery("id").String()); err != nil {
						t.Error(err)
					}
					r.Session.MustSet("new", "v")
				})
			})
			synctest.Test(t, func(t *testing.T) {
				id := s.call("/set", "").cookie.Value
				time.Sleep(time.Minute)
				path, sent := "/add?k=new", id
				if name == "own" {
					path, sent = "/own?id="+id, ""
				}
				if a := s.call(path, sent); a.cookie == nil || a.cookie.Value == id {
					t.Errorf("the new session's cookie is %v", a.cookie)
				} else if got := s.call("/who", a.cookie.Value).body; got != `;{"new":"v"}` {
					t.Errorf("the new session is %q", got)
				}
			})
		})
	}
}

// A session that is used lives on past its idle limit, and past the middleware's where it has a
// longer one of its own.
func TestASessionInUseLivesOn(t *testing.T) {
	for _, own := range []bool{false, true} {
		inTime(t, func(server *ghttp.Server, chain *layer.Stack) {
			standard(web.Idle(time.Minute), web.Absolute(time.Hour))(server, chain)
			server.BindHandler("/remember", func(r *ghttp.Request) {
				if err := web.SetLimits(r, 10*time.Minute, 0); err != nil {
					t.Error(err)
				}
			})
		}, func(t *testing.T, s *site) {
			id := s.call("/login", "").cookie.Value
			between := 59 * time.Second
			if own {
				between = 599 * time.Second
				id = s.call("/remember", id).cookie.Value
			}
			for begun := time.Now(); time.Since(begun) < 50*time.Minute; {
				time.Sleep(between)
				if got := s.call("/who", id).body; got != "ann;{}" {
					t.Fatalf("own %v: the session is %q after %v", own, got, time.Since(begun))
				}
			}
			time.Sleep(between + 2*time.Second)
			if got := s.call("/who", id).body; got != ";{}" {
				t.Errorf("own %v: the session doesn't end: %q", own, got)
			}
		})
	}
}

// The cookie is sent anew when a tenth of its life is over, and not before.
func TestTheCookieIsSentAgain(t *testing.T) {
	inTime(t, standard(web.Idle(time.Hour)), func(t *testing.T, s *site) {
		id := s.call("/set", "").cookie.Value
		for range 3 {
			time.Sleep(6*time.Minute - time.Millisecond)
			if a := s.call("/get", id); a.cookie != nil || a.body != "v" {
				t.Fatalf("the cookie %v was sent again before its time, with %q", a.cookie, a.body)
			}
			time.Sleep(time.Millisecond)
			if a := s.call("/get", id); a.cookie == nil || a.cookie.Value != id || a.cookie.MaxAge != 3600 ||
				a.header.Get("Vary") != "Cookie" || a.header.Get("Cache-Control") != "private" {
				t.Fatalf("%v %v", a.cookie, a.header)
			}
		}
	})
}

// The cookie is sent anew also where a request writes its session twice.
func TestTheCookieIsSentAgainWithTheFirstOfTwoWrites(t *testing.T) {
	inTime(t, func(server *ghttp.Server, chain *layer.Stack) {
		server.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			if r.URL.Path == "/late" {
				r.Session.MustSet("late", "v")
			}
		})
		standard()(server, chain)
		server.BindHandler("/late", func(r *ghttp.Request) { r.Session.MustSet("k", "late") })
		server.BindHandler("/close", func(r *ghttp.Request) {
			r.Session.MustSet("k", "close")
			if err := r.Session.Close(); err != nil {
				t.Error(err)
			}
		})
	}, func(t *testing.T, s *site) {
		for _, path := range []string{"/late", "/close"} {
			id := s.call("/set", "").cookie.Value
			time.Sleep(life / 2)
			if a := s.call(path, id); a.cookie == nil || a.cookie.Value != id {
				t.Errorf("%s brought the cookie %v", path, a.cookie)
			}
		}
	})
}

// The cookie is sent anew though the clock of the node that sent it last was ahead, unless by little.
func TestTheCookieIsSentAgainAfterAClockThatWasAhead(t *testing.T) {
	inTime(t, standard(), func(t *testing.T, s *site) {
		for ahead, want := range map[time.Duration]bool{2 * life: true, time.Minute: false} {
			id := s.call("/set", "").cookie.Value
			sent := strconv.FormatInt(time.Now().Add(ahead).UnixMilli(), 36)
			data, err := s.chain.GetSession(t.Context(), id, life)
			if err == nil {
				data.Set("strata.web", "1;"+sent+";0;"+sent+";0;0;")
				err = s.chain.SetSession(t.Context(), id, data, life)
			}
			if err != nil {
				t.Fatal(err)
			}
			if a := s.call("/get", id); (a.cookie != nil) != want || a.body != "v" {
				t.Errorf("%v ahead: the cookie %v, with %q", ahead, a.cookie, a.body)
			}
		}
	})
}

// A long response doesn't bring the cookie at its end: the next request does.
func TestTheEndOfAStreamSendsNoCookie(t *testing.T) {
	inTime(t, func(server *ghttp.Server, chain *layer.Stack) {
		standard()(server, chain)
		server.BindHandler("/stream", func(r *ghttp.Request) {
			r.Response.Write("begun ", r.Session.MustGet("k"))
			r.Response.Flush()
			time.Sleep(life / 5)
		})
	}, func(t *testing.T, s *site) {
		id := s.call("/set", "").cookie.Value
		s.call("/stream", id)
		if s.call("/get", id).cookie == nil {
			t.Error("a cookie that wasn't sent is taken for sent")
		}
	})
}

func TestHeadersCarryNoCookie(t *testing.T) {
	for name, c := range map[string]struct {
		opt    web.Option
		header func(id string) []string
	}{
		"bearer": {web.Bearer(), func(id string) []string { return []string{"Authorization", "bearer " + id} }},
		"own":    {web.Header("x-session"), func(id string) []string { return []string{"X-Session", id} }},
	} {
		s := serve(t, standard(c.opt))
		a := s.bare("/login")
		if a.cookie != nil || len(a.body) != 22 {
			t.Fatalf("%s: cookie %v, token %q", name, a.cookie, a.body)
		}
		if got := s.bare("/who", c.header(a.body)...); got.body != "ann;{}" || got.cookie != nil || got.header.Get("Vary") == "" {
			t.Errorf("%s: %q", name, got.body)
		}
		if got := s.bare("/who", "Cookie", sends(a.body)).body; got != ";{}" {
			t.Errorf("%s: a cookie is read", name)
		}
	}
	s := serve(t, standard(web.Bearer(), web.Cookie(web.CookieOptions{})))
	a := s.bare("/login")
	if a.cookie == nil || a.cookie.Value != a.body {
		t.Errorf("both were asked for: %v", a.cookie)
	}
	if got := s.bare("/set", "Authorization", "Bearer "+a.body); got.cookie != nil {
		t.Error("a request with the header got a cookie")
	}
	if got := s.bare("/who", "Cookie", sends(a.body)).body; got != `ann;{"k":"v"}` {
		t.Errorf("by cookie it is %q", got)
	}
}

// Each setting of the server that is about sessions is honoured, or refused with a sentence.
func TestSettingsOfTheServerAreTakenOrRefused(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(*ghttp.Server)
		opts    []web.Option
		refused bool
		want    func(*http.Cookie) bool
	}{
		"SetSessionIdName":       {set: func(s *ghttp.Server) { s.SetSessionIdName("own") }, want: func(c *http.Cookie) bool { return c.Name == "own" }},
		"a bad name":             {set: func(s *ghttp.Server) { s.SetSessionIdName("a b") }, refused: true},
		"SetSessionMaxAge":       {set: func(s *ghttp.Server) { s.SetSessionMaxAge(30 * 24 * time.Hour) }, want: func(c *http.Cookie) bool { return c.MaxAge == 30*24*3600 }},
		"SetSessionCookieMaxAge": {set: func(s *ghttp.Server) { s.SetSessionCookieMaxAge(0) }, want: func(c *http.Cookie) bool { return c.MaxAge == 0 && c.Expires.IsZero() }},
		"another cookie age":     {set: func(s *ghttp.Server) { s.SetSessionCookieMaxAge(time.Minute) }, refused: true},
		"an age of web.Cookie": {set: func(s *ghttp.Server) { s.SetSessionCookieMaxAge(time.Minute) },
			opts: []web.Option{web.Cookie(web.CookieOptions{MaxAge: 2 * time.Minute})}, want: func(c *http.Cookie) bool { return c.MaxAge == 120 }},
		"SetSessionCookieOutput": {set: func(s *ghttp.Server) { s.SetSessionCookieOutput(false) }, refused: true},
		"SetSessionStorage":      {set: func(s *ghttp.Server) { s.SetSessionStorage(gsession.NewStorageMemory()) }, want: func(*http.Cookie) bool { return true }},
		"SetCookiePath":          {set: func(s *ghttp.Server) { s.SetCookiePath("/app") }, want: func(c *http.Cookie) bool { return c.Path == "/app" }},
		"SetCookieDomain":        {set: func(s *ghttp.Server) { s.SetCookieDomain("example.com") }, want: func(c *http.Cookie) bool { return c.Domain == "example.com" }},
		"cookieSameSite": {set: func(s *ghttp.Server) { _ = s.SetConfigWithMap(map[string]any{"cookieSameSite": "strict"}) },
			want: func(c *http.Cookie) bool { return c.SameSite == http.SameSiteStrictMode }},
		"cookieSameSite none": {set: func(s *ghttp.Server) { _ = s.SetConfigWithMap(map[string]any{"cookieSameSite": "none"}) },
			want: func(c *http.Cookie) bool { return c.SameSite == http.SameSiteNoneMode && c.Secure }},
		"cookieSameSite none and Insecure": {set: func(s *ghttp.Server) { _ = s.SetConfigWithMap(map[string]any{"cookieSameSite": "none"}) },
			opts: []web.Option{web.Cookie(web.CookieOptions{Insecure: true})}, refused: true},
		"SameSite none": {opts: []web.Option{web.Cookie(web.CookieOptions{SameSite: http.SameSiteNoneMode})},
			want: func(c *http.Cookie) bool { return c.SameSite == http.SameSiteNoneMode && c.Secure }},
		"a prefix of SetSessionIdName": {set: func(s *ghttp.Server) { s.SetSessionIdName("__host-own") },
			want: func(c *http.Cookie) bool { return c.Secure && c.Name == "__host-own" }},
		"a prefix of Name": {opts: []web.Option{web.Cookie(web.CookieOptions{Name: "__Secure-own", Path: "/app"})},
			want: func(c *http.Cookie) bool { return c.Secure && c.Name == "__Secure-own" }},
		"a prefix and SetCookieDomain": {set: func(s *ghttp.Server) { s.SetCookieDomain("example.com") },
			opts: []web.Option{web.Cookie(web.CookieOptions{Name: "__Host-own"})}, refused: true},
		"a prefix and Insecure": {set: func(s *ghttp.Server) { s.SetSessionIdName("__Secure-own") },
			opts: []web.Option{web.Cookie(web.CookieOptions{Insecure: true})}, refused: true},
		"Secure with a domain": {set: func(s *ghttp.Server) { s.SetCookieDomain("example.com") }, opts: []web.Option{web.Cookie(web.CookieOptions{Secure: true})},
			want: func(c *http.Cookie) bool { return c.Secure && c.Name == "__Secure-"+cookieName }},
		"Secure": {opts: []web.Option{web.Cookie(web.CookieOptions{Secure: true})},
			want: func(c *http.Cookie) bool { return c.Secure && c.Name == "__Host-"+cookieName }},
	} {
		s := serve(t, func(server *ghttp.Server, chain *layer.Stack) {
			if c.set != nil {
				c.set(server)
			}
			standard(c.opts...)(server, chain)
		})
		a := s.bare("/set")
		switch {
		case c.refused && (a.status != http.StatusInternalServerError || a.cookie != nil):
			t.Errorf("%s isn't refused: %d", name, a.status)
		case !c.refused && (a.cookie == nil || !c.want(a.cookie)):
			t.Errorf("%s: the cookie is %v", name, a.cookie)
		}
	}
}

func TestOverADirectStore(t *testing.T) {
	redis := redistest.Start(t)
	s := serveChain(t, layer.Chain(gsession.NewStorageRedisHashTable(redis.GoFrame(t), "h:"), layer.Snapshots(), layer.Coalesced(layer.WriteTimeout(deadline))), standard())
	c := s.client()
	c.want("/set", "set")
	c.want("/get", "v")
	c.status("/login", http.StatusOK)
	c.want("/who", `ann;{"k":"v"}`)
	c.status("/logout", http.StatusOK)
	c.want("/who", ";{}")
}

// Login ends the id that the client had, also where the handler has made a new one before and kept the old.
func TestLoginEndsAnIdThatTheHandlerHasKept(t *testing.T) {
	redis := redistest.Start(t)
	for name, storage := range map[string]gsession.Storage{
		"snapshot": gsession.NewStorageMemory(),
		"direct":   gsession.NewStorageRedisHashTable(redis.GoFrame(t), "h:"),
	} {
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			standard()(server, chain)
			server.BindHandler("/keep", func(r *ghttp.Request) {
				r.Session.MustRegenerateId(false)
				r.Response.Write(web.Login(r, "ann"))
			})
		})
		for _, begin := range []string{"/set", "/login"} {
			old := s.bare(begin).cookie.Value
			in := s.bare("/keep", "Cookie", sends(old)).cookie.Value
			if in == old {
				t.Fatalf("%s: the log-in keeps the id", name)
			}
			if got := s.bare("/who", "Cookie", sends(in)).body; !strings.HasPrefix(got, "ann;") {
				t.Errorf("%s: the new session is %q", name, got)
			}
			if got := s.bare("/who", "Cookie", sends(old)).body; got != ";{}" {
				t.Errorf("%s: after %s, the old id shows %q", name, begin, got)
			}
		}
	}
}

// A session that is ended after its commit takes its principal with it: what an outer middleware sets then begins a
// visitor's.
func TestWhatFollowsTheCommitOfAnEndedSessionIsAVisitors(t *testing.T) {
	bothKinds(t, func(t *testing.T, storage gsession.Storage) {
		s := serveOn(t, storage, func(server *ghttp.Server, chain *layer.Stack) {
			id := ""
			server.Use(func(r *ghttp.Request) {
				r.Middleware.Next()
				if r.URL.Path == "/change" {
					if err := chain.RemoveAll(context.Background(), id); err != nil {
						t.Error(err)
					}
					r.Session.MustSet("after", 1)
				}
			}, web.Sessions(chain))
			server.BindHandler("/login", func(r *ghttp.Request) {
				if err := web.Login(r, "ann"); err != nil {
					t.Error(err)
				}
			})
			server.BindHandler("/change", func(r *ghttp.Request) {
				r.Session.MustSet("n", 1)
				id = r.Session.MustId()
			})
			server.BindHandler("/who", func(r *ghttp.Request) { r.Response.Writef("%s %v", web.Principal(r), r.Session.MustGet("after")) })
		})
		c := s.client()
		c.get("/login")
		c.want("/who", "ann ")
		c.get("/change")
		c.want("/who", " 1")
	})
}
