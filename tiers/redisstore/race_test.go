package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// all runs n goroutines and waits for them.
func all(n int, do func(n int)) {
	var wg sync.WaitGroup
	for n := range n {
		wg.Go(func() { do(n) })
	}
	wg.Wait()
}

func TestOverlappingRequestsBothSurvive(t *testing.T) {
	bothWays(t, overlap)
}

func overlap(f *fixture) {
	s, other := f.open(), f.open()
	f.set("a", `{"user":7}`)
	one, two, three := f.load(s, "a"), f.load(s, "a"), f.load(other, "a")
	one.Set("one", 1)
	one.Set("both", "one")
	two.Set("two", 2)
	two.Set("both", "two")
	three.Remove("user")
	f.check(s.SetSession(ctx, "a", one, ttl))
	f.check(s.SetSession(ctx, "a", two, ttl))
	f.check(other.SetSession(ctx, "a", three, ttl))
	f.want("a", `{"both":"two","one":1,"two":2}`)
}

// TestNoCommitIsLost has 32 goroutines of two nodes commit to one session, which
// they create together.
func TestNoCommitIsLost(t *testing.T) {
	bothWays(t, func(f *fixture) { storm(f, f.open(), f.open(), "a", 32, 10) })
}

func storm(f *fixture, one, two gsession.Storage, id string, writers, rounds int) {
	f.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	all(writers, func(w int) {
		s := one
		if w%2 == 1 {
			s = two
		}
		for r := range rounds {
			request := gsession.New(ttl, s).New(ctx, id)
			err := request.Set(fmt.Sprintf("w%d-%d", w, r), r)
			if err == nil {
				err = request.Close()
			}
			if err != nil {
				f.Error(err)
				return
			}
		}
	})
	if got := f.load(one, id).Size(); got != writers*rounds {
		f.Fatalf("%d of %d keys are left", got, writers*rounds)
	}
}

// TestLogOutHolds removes a session that requests of this node and of another hold.
func TestLogOutHolds(t *testing.T) {
	f := start(t)
	here, there := f.open(), f.open()
	cases := map[string]func(m *gmap.StrAnyMap){
		"changed":       func(m *gmap.StrAnyMap) { m.Set("k", "w") },
		"added":         func(m *gmap.StrAnyMap) { m.Set("x", 1) },
		"removed a key": func(m *gmap.StrAnyMap) { m.Remove("k") },
		"unchanged":     func(*gmap.StrAnyMap) {},
	}
	gone := map[string]func(){
		"removed": func() { f.check(here.RemoveAll(ctx, "a")) },
		"expired": func() {
			f.check(f.raw.PExpire(ctx, "a", time.Millisecond).Err())
			poll.Until(t, "the session expires", func() bool { return f.raw.Exists(ctx, "a").Val() == 0 })
		},
	}
	for how, go_ := range gone {
		for name, change := range cases {
			for node, s := range map[string]*redisstore.Storage{"this node": here, "another": there} {
				f.set("a", `{"k":"v","l":2}`)
				m := f.load(s, "a")
				change(m)
				go_()
				err := s.SetSession(ctx, "a", m, ttl)
				if !errors.Is(err, tiers.ErrRevoked) && !(name == "unchanged" && err == nil) {
					t.Errorf("%s, %s, %s: the commit returned %v", how, name, node, err)
				}
				if f.raw.Exists(ctx, "a").Val() != 0 {
					t.Errorf("%s, %s, %s: the session is back", how, name, node)
				}
			}
		}
	}
}

// TestLogOutHoldsInARace removes a session while requests that hold it commit.
func TestLogOutHoldsInARace(t *testing.T) { bothWays(t, logOutInARace) }

func logOutInARace(f *fixture) {
	nodes := []*redisstore.Storage{f.open(), f.open()}
	for round := range 50 {
		id := fmt.Sprint("race", round)
		f.set(id, `{"k":"v"}`)
		var held []*gmap.StrAnyMap
		for n := range 8 {
			m := f.load(nodes[n%2], id)
			m.Set(fmt.Sprint("n", n), n)
			held = append(held, m)
		}
		all(9, func(n int) {
			if n == 8 {
				if err := nodes[0].RemoveAll(ctx, id); err != nil {
					f.Error(err)
				}
				return
			}
			if err := nodes[n%2].SetSession(ctx, id, held[n], ttl); err != nil && !errors.Is(err, tiers.ErrRevoked) {
				f.Error(err)
			}
		})
		f.want(id, "")
	}
}

// TestRemovedSessionCanBeMadeAnew is a log-in after a log-out.
func TestRemovedSessionCanBeMadeAnew(t *testing.T) {
	f := start(t)
	s, other := f.open(), f.open()
	f.set("a", `{"k":"v"}`)
	m := f.load(s, "a")
	f.check(other.RemoveAll(ctx, "a"))
	m.Clear()
	m.Set("user", 8)
	f.check(s.SetSession(ctx, "a", m, ttl))
	f.want("a", `{"user":8}`)
}

// TestLogInAfterLogOut distinguishes what a request held before from what is there now,
// which only this node can do.
func TestLogInAfterLogOut(t *testing.T) {
	f := start(t)
	s := f.open()
	f.set("a", `{"user":7}`)
	m := f.load(s, "a")
	m.Set("cart", 1)
	f.check(s.RemoveAll(ctx, "a"))
	f.set("a", `{"user":8}`)
	if err := s.SetSession(ctx, "a", m, ttl); !errors.Is(err, tiers.ErrRevoked) {
		t.Fatal(err)
	}
	f.want("a", `{"user":8}`)
}

// overtaking runs a function before the next script is sent.
type overtaking struct{ first func() }

func (o *overtaking) DialHook(next redis.DialHook) redis.DialHook { return next }

func (o *overtaking) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (o *overtaking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if first := o.first; first != nil && strings.HasPrefix(commands[0].Name(), "eval") {
			o.first = nil
			first()
		}
		return next(ctx, commands)
	}
}

// TestLogInWithTheSameBytes logs out and in again while a commit of the old log-in is on its
// way, which compares digests: the two must not have the same one.
func TestLogInWithTheSameBytes(t *testing.T) {
	f := start(t)
	client, hook := f.server.Client(), &overtaking{}
	client.AddHook(hook)
	s := redisstore.New(client)
	logIn := func() {
		request := gsession.New(ttl, s).New(ctx, "a")
		request.MustSet("user", "ann")
		f.check(request.Close())
	}
	logIn()
	old := gsession.New(ttl, s).New(ctx, "a")
	old.MustSet("role", "admin")
	hook.first = func() {
		f.check(gsession.New(ttl, s).New(ctx, "a").RemoveAll())
		logIn()
	}
	if err := old.Close(); !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("Close = %v, want ErrRevoked", err)
	}
	if m := f.load(s, "a"); m.Size() != 1 || m.Get("user") != "ann" {
		t.Errorf("the new session is %v", m.Map())
	}
}

// TestCluster takes the same through a cluster, whose masters each have some keys.
func TestCluster(t *testing.T) {
	t.Run("by scripts", func(t *testing.T) { sessionsOfACluster(t, startCluster(t)) })
	t.Run("by transactions", func(t *testing.T) { sessionsOfACluster(t, redistest.StartCluster(t, 3, scriptless...)) })
}

func sessionsOfACluster(t *testing.T, cluster *redistest.Cluster) {
	one, two := redisstore.New(cluster.Client()), redisstore.New(cluster.Client())
	f := &fixture{T: t}
	for n := range 12 {
		storm(f, one, two, fmt.Sprint("storm", n), 4, 3)
	}
	for n := range 12 {
		id := fmt.Sprint("a{", n, "}")
		f.check(one.SetSession(ctx, id, gmap.NewStrAnyMapFrom(values{"k": "v"}, true), ttl))
		f.check(one.UpdateTTL(ctx, id, ttl))
		m := f.load(two, id)
		m.Set("x", 1)
		f.check(one.RemoveAll(ctx, id))
		if err := two.SetSession(ctx, id, m, ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Fatal(err)
		}
	}

	// A client that doesn't know of the cluster gets an error that says so.
	plain := redisstore.New(cluster.Masters[0].Client())
	var err error
	for n := 0; err == nil && n < 100; n++ {
		_, err = plain.Load(ctx, fmt.Sprint(secretID, n), ttl)
	}
	private(t, err)
	if want := "strata: redis: GET: MOVED: the server is part of a cluster; use redisstore.New(redis.NewClusterClient(...))"; err.Error() != want {
		t.Error(err)
	}
	var answer redis.Error
	if !errors.As(err, &answer) {
		t.Error("the cause is lost")
	}
}
