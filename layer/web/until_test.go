package web_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"
	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/web"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// until is standard with streams that last until their session ends, and then say why.
func until(opts ...web.Option) func(*ghttp.Server, *layer.Stack) {
	return func(server *ghttp.Server, chain *layer.Stack) {
		standard(opts...)(server, chain)
		server.BindHandler("/until", func(r *ghttp.Request) {
			ctx := web.Until(r)
			if r.GetQuery("login").String() != "" {
				if err := web.Login(r, "ann"); err != nil {
					r.Response.WriteStatus(http.StatusForbidden)
					return
				}
			}
			if web.Until(r) != ctx {
				r.Response.Write("another context ")
			}
			r.Response.Write("open\n")
			r.Response.Flush()
			<-ctx.Done()
			cause := context.Cause(ctx)
			switch {
			case errors.Is(cause, layer.ErrRevoked):
				r.Response.Write("ended ", layer.ReasonOf(cause))
			default:
				r.Response.Write("cancelled")
			}
		})
	}
}

// stream is an open request of /until.
type stream struct {
	t     testing.TB
	body  *bufio.Reader
	id    string // of the cookie that it brought
	lines chan string
	close func()
}

func (s *site) stream(path, id string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if id != "" {
		r.Header.Set("Cookie", sends(id))
	}
	transport := &http.Transport{}
	got, err := transport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	is := &stream{t: s.t, body: bufio.NewReader(got.Body), lines: make(chan string, 1), close: func() {
		cancel()
		_ = got.Body.Close()
		transport.CloseIdleConnections()
	}}
	for _, c := range got.Cookies() {
		is.id = c.Value
	}
	if line, err := is.body.ReadString('\n'); err != nil || line != "open\n" {
		s.t.Fatalf("%q, %v", line, err)
	}
	go func() {
		line, err := is.body.ReadString('\n')
		if line == "" {
			line = fmt.Sprint(err)
		}
		is.lines <- line
	}()
	s.t.Cleanup(is.close)
	return is
}

// ends waits for the end of a stream.
func (s *stream) ends(want string) {
	s.t.Helper()
	select {
	case got := <-s.lines:
		if got != want {
			s.t.Fatalf("the stream ended with %q, want %q", got, want)
		}
	case <-time.After(deadline):
		s.t.Fatalf("the stream doesn't end with %q", want)
	}
}

func (s *stream) lives() {
	s.t.Helper()
	select {
	case got := <-s.lines:
		s.t.Fatalf("the stream ended with %q", got)
	default:
	}
}

// indexed is a node with an index over Redis, reached through a proxy.
func indexed(t testing.TB, redis *redistest.Server, coalesced ...layer.CoalescedOption) (*site, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.StartProxy(t, redis.Addr())
	store, err := redisstore.Open("redis://"+proxy.Addr()+"/0", redisstore.Prefix("s:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	chain := layer.Chain(store, layer.Coalesced(append([]layer.CoalescedOption{layer.WriteTimeout(deadline)}, coalesced...)...), layer.Local(layer.LoadTimeout(deadline)), layer.Indexed(nil))
	t.Cleanup(func() { _ = chain.Close(context.Background()) })
	return serveChain(t, chain, until()), proxy
}

func TestUntilTheSessionEndsOnAnotherNode(t *testing.T) {
	redis := redistest.Start(t)
	client := redis.Client()
	ctx := context.Background()
	one, _ := indexed(t, redis)
	two, _ := indexed(t, redis)
	users := layer.Principals(one.chain)
	handle := func() string {
		t.Helper()
		list, _, err := users.List(ctx, "ann", "")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		return list[0].Handle
	}
	for name, c := range map[string]struct {
		end    func(id string) error
		reason layer.Reason
	}{
		"log-out":      {func(id string) error { one.bare("/logout", "Cookie", sends(id)); return nil }, layer.ReasonLoggedOut},
		"Revoke":       {func(string) error { return users.Revoke(ctx, handle(), layer.ReasonEndedByAdmin) }, layer.ReasonEndedByAdmin},
		"RevokeAll":    {func(string) error { _, err := users.RevokeAll(ctx, "ann", layer.ReasonPasswordChanged); return err }, layer.ReasonPasswordChanged},
		"everybody":    {func(string) error { return users.RevokeEverybody(ctx, layer.ReasonEndedByAdmin) }, layer.ReasonEndedByAdmin},
		"by a program": {func(id string) error { return client.Del(ctx, "s:"+id).Err() }, ""},
	} {
		id := one.bare("/login").cookie.Value
		streams := []*stream{two.stream("/until", id), two.stream("/until", id), one.stream("/until", id)}
		// Reads, changes and a new id end neither the session nor the stream.
		two.bare("/get", "Cookie", sends(id))
		one.bare("/set", "Cookie", sends(id))
		for _, path := range []string{"/renew", "/prove"} {
			id = one.bare(path, "Cookie", sends(id)).cookie.Value
		}
		if got := two.bare("/who", "Cookie", sends(id)).body; !strings.HasPrefix(got, "ann;") {
			t.Fatalf("%s: the session is %q", name, got)
		}
		for _, s := range streams {
			s.lives()
		}
		if err := c.end(id); err != nil {
			t.Fatal(err)
		}
		for _, s := range streams {
			s.ends("ended " + string(c.reason))
		}
	}
}

// An attacker who had the id from before a log-in may hold what was opened under it, on any node: it ends with
// the log-in, also where it has followed another new id before. The request that logs in goes on.
func TestUntilALogIn(t *testing.T) {
	redis := redistest.Start(t)
	for name, node := range map[string]func() *site{
		"Redis":         func() *site { s, _ := indexed(t, redis); return s },
		"written later": func() *site { s, _ := indexed(t, redis, layer.WriteBehind(time.Minute)); return s },
		"StorageMemory": nil,
	} {
		one := serve(t, until())
		two, loggedOut := one, ""
		if node != nil {
			one, two, loggedOut = node(), node(), string(layer.ReasonLoggedOut)
		}
		for _, begin := range []string{"/set", "/login"} {
			var streams []*stream
			id := ""
			for _, path := range []string{begin, "/renew"} {
				id = one.bare(path, "Cookie", sends(id)).cookie.Value
				if err := one.chain.Flush(context.Background()); err != nil {
					t.Fatal(err)
				}
				streams = append(streams, one.stream("/until", id), two.stream("/until", id))
			}
			for _, s := range streams {
				s.lives()
			}
			own := one.stream("/until?login=ann", id)
			for n, s := range streams {
				t.Log(name, begin, n)
				s.ends("ended ")
			}
			own.lives()
			one.bare("/logout", "Cookie", sends(own.id))
			own.ends("ended " + loggedOut)
		}
	}
}

// A session that goes on under another id does so where changes are written behind, too.
func TestUntilWhereChangesAreWrittenBehind(t *testing.T) {
	redis := redistest.Start(t)
	one, _ := indexed(t, redis, layer.WriteBehind(time.Minute))
	two, _ := indexed(t, redis, layer.WriteBehind(time.Minute))
	id := one.bare("/login").cookie.Value
	if err := one.chain.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := two.stream("/until", id)
	for range 3 {
		id = one.bare("/renew", "Cookie", sends(id)).cookie.Value
	}
	one.bare("/logout", "Cookie", sends(id))
	s.ends("ended " + string(layer.ReasonLoggedOut))
}

// While invalidations can't be received the store is asked, and where that can't be reached
// nothing ends.
func TestUntilWaitsWhileTheStoreIsAway(t *testing.T) {
	redis := redistest.Start(t)
	one, _ := indexed(t, redis)
	two, proxy := indexed(t, redis)
	users := layer.Principals(one.chain)
	for range 2 {
		id := one.bare("/login").cookie.Value
		kept, ended := two.stream("/until", one.bare("/set").cookie.Value), two.stream("/until", id)
		proxy.Stall()
		if _, err := users.RevokeAll(context.Background(), "ann", layer.ReasonEndedByAdmin); err != nil {
			t.Fatal(err)
		}
		kept.lives()
		ended.lives()
		proxy.Resume()
		ended.ends("ended " + string(layer.ReasonEndedByAdmin))
		kept.lives()
		kept.close()

		id = one.bare("/login").cookie.Value
		kept, ended = two.stream("/until", one.bare("/set").cookie.Value), two.stream("/until", id)
		proxy.Cut()
		one.bare("/logout", "Cookie", sends(id))
		ended.ends("ended " + string(layer.ReasonLoggedOut))
		kept.lives()
		kept.close()
	}
}

// A store that doesn't notify of changes is asked.
func TestUntilOverAStoreThatSendsNoInvalidations(t *testing.T) {
	s := serve(t, until())
	id := s.bare("/set").cookie.Value
	by := s.stream("/until", id)
	in := s.bare("/renew", "Cookie", sends(id)).cookie.Value // goes on under another id
	by.lives()
	if err := s.chain.RemoveAll(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	by.ends("ended ")

	begun := s.stream("/until?login=ann", "") // the session begins after the call
	if begun.id == "" {
		t.Fatal("no session began")
	}
	s.bare("/logout", "Cookie", sends(begun.id))
	begun.ends("ended ")

	s.bare("/until-nobody") // no route
	nobody := s.stream("/until", "")
	nobody.lives()
	nobody.close()
}

// hidden and shown are the two sides of a decorator that changes values.
func hidden(_ string, value any) (string, error) {
	text, err := json.Marshal(value)
	return hex.EncodeToString(text), err
}

func shown(_ string, stored any) (value any, err error) {
	text, _ := stored.(string)
	content, err := hex.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(content, &value)
	}
	return value, err
}

func TestUntilALimit(t *testing.T) {
	const short = 300 * time.Millisecond
	mapped := layer.Mapped(hidden, shown) // only the chain can read the values
	for name, c := range map[string]struct {
		opt        web.Option
		store      *timed
		decorators []layer.Decorator
		reason     layer.Reason
	}{
		"idle":                   {web.Idle(short), &timed{}, nil, layer.ReasonIdle},
		"absolute":               {web.Absolute(short), &timed{longer: life}, nil, layer.ReasonExpired},
		"absolute, mapped":       {web.Absolute(short), &timed{longer: life}, []layer.Decorator{mapped, layer.Local()}, layer.ReasonExpired},
		"absolute, mapped above": {web.Absolute(short), &timed{longer: life}, []layer.Decorator{layer.Coalesced(), mapped, layer.Local()}, layer.ReasonExpired},
	} {
		chain := layer.Chain(c.store, c.decorators...)
		s := serveChain(t, chain, until(c.opt))
		begun := time.Now()
		s.stream("/until?login=ann", "").ends("ended " + string(c.reason))
		if time.Since(begun) < short-time.Millisecond { // moments are cut to milliseconds
			t.Errorf("%s: the session ended early", name)
		}
		if err := chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// A direct store's session is followed as well.
func TestUntilOverADirectStore(t *testing.T) {
	redis := redistest.Start(t)
	s := serveChain(t, layer.Chain(gsession.NewStorageRedisHashTable(redis.GoFrame(t), "h:"), layer.Snapshots(), layer.Coalesced(layer.WriteTimeout(deadline))), until())
	id := s.bare("/set").cookie.Value
	by := s.stream("/until", id)
	in := s.bare("/login", "Cookie", sends(id)).cookie.Value
	by.ends("ended ")
	by = s.stream("/until", in)
	in = s.bare("/prove", "Cookie", sends(in)).cookie.Value
	by.lives()
	client, ctx := redis.Client(), context.Background()
	for _, key := range client.Keys(ctx, "*").Val() {
		if client.TTL(ctx, key).Val() <= 0 {
			t.Error("a key lives for ever")
		}
	}
	s.bare("/logout", "Cookie", sends(in))
	by.ends("ended ")
}

func TestUntilEndsWithTheRequest(t *testing.T) {
	others := []goleak.Option{goleak.IgnoreCurrent()}
	for _, function := range []string{"net/http.(*conn).serve", "net/http.(*connReader).backgroundRead", "net/http.(*persistConn).readLoop", "net/http.(*persistConn).writeLoop"} {
		others = append(others, goleak.IgnoreAnyFunction(function))
	}
	chain := layer.Chain(gsession.NewStorageMemory())
	s := serveChain(t, chain, until())
	id := s.bare("/login").cookie.Value
	first, second := s.stream("/until", id), s.stream("/until", id)
	first.close() // the client hangs up
	second.lives()
	second.close()
	// A route without the middleware waits for nothing.
	bare := serveChain(t, chain, func(server *ghttp.Server, _ *layer.Stack) {
		server.BindHandler("/until", func(r *ghttp.Request) { r.Response.Write(context.Cause(web.Until(r)) != nil) })
	})
	bare.client().want("/until", "true")
	_ = bare.server.Shutdown()
	_ = s.server.Shutdown()
	leaktest.Ended(t, others...)
}

// BenchmarkUntil is how long it takes from a kick on one node until a stream on another one has
// ended.
func BenchmarkUntil(b *testing.B) {
	redis := redistest.Start(b)
	one, _ := indexed(b, redis)
	two, _ := indexed(b, redis)
	b.StopTimer()
	for range b.N {
		id := one.bare("/login").cookie.Value
		s := two.stream("/until", id)
		time.Sleep(20 * time.Millisecond) // the first look
		b.StartTimer()
		if err := one.chain.RemoveAll(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		s.ends("ended " + string(layer.ReasonLoggedOut))
		b.StopTimer()
	}
}

// A session that is waited for, or changed by an administrator, isn't in use by that: it is listed with its last
// request.
func TestUntilIsNoUseOfTheSession(t *testing.T) {
	var sessions ghttp.HandlerFunc // of the bubble
	s := serveChain(t, layer.Chain(gsession.NewStorageMemory()), func(server *ghttp.Server, _ *layer.Stack) {
		server.Use(func(r *ghttp.Request) { sessions(r) })
		handlers(server)
		server.BindHandler("/wait", func(r *ghttp.Request) { <-web.Until(r).Done() })
	})
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		chain := layer.Chain(&timed{}, layer.Indexed(nil))
		defer func() {
			if err := chain.Close(ctx); err != nil {
				t.Error(err)
			}
		}()
		sessions = web.Sessions(chain, web.Idle(time.Hour))
		id := s.call("/login", "").cookie.Value
		done := make(chan struct{})
		go func() { s.call("/wait", id); close(done) }()
		time.Sleep(10 * time.Minute)
		users := layer.Principals(chain)
		if n, err := users.Update(ctx, "ann", func(c *layer.Changes) error { c.Set("role", "admin"); return nil }); n != 1 || err != nil {
			t.Error(n, err)
		}
		if err := chain.Flush(ctx); err != nil {
			t.Error(err)
		}
		list, _, err := users.List(ctx, "ann", "")
		if err != nil || len(list) != 1 || list[0].Seen.After(list[0].Begun.Add(2*time.Minute)) {
			t.Errorf("after ten minutes without a request listed are %v, %v", list, err)
		}
		s.call("/logout", id)
		<-done
	})
}

// noteless is a store that panics once when the note of a moved session is read.
type noteless struct {
	gsession.Storage
	panicked atomic.Bool
}

func (n *noteless) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if strings.HasPrefix(id, "moved.") && n.panicked.CompareAndSwap(false, true) {
		panic("a note")
	}
	return n.Storage.GetSession(ctx, id, ttl)
}

// A storage that panics in the watch's goroutine, whatever it is asked for, ends neither the process nor the stream.
func TestAPanicOfTheStorageWhileAStreamWaits(t *testing.T) {
	store := &noteless{Storage: gsession.NewStorageMemory()}
	var chain *layer.Stack
	s := serveOn(t, store, func(server *ghttp.Server, c *layer.Stack) {
		chain = c
		until()(server, c)
	})
	id := s.client().want("/set", "set").cookie.Value
	stream := s.stream("/until", id)
	if err := chain.RemoveAll(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	stream.ends("ended ")
	if !store.panicked.Load() {
		t.Error("the storage didn't panic")
	}
}
