package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// examples is the address of the server that the examples talk to.
var examples string

// GoFrame's packages start goroutines for good as they are imported.
func TestMain(m *testing.M) { leaktest.Main(withServer{m}) }

// withServer runs the tests beside the server of the examples.
type withServer struct{ m *testing.M }

func (w withServer) Run() int {
	server, err := redistest.Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Close()
	examples = server.Addr()
	return w.m.Run()
}

const (
	// Texts that no error may hold.
	secretID    = "id-5fe2c1"
	secretKey   = "key-90ab13"
	secretValue = "value-77d0ee"

	ttl = time.Minute
)

var ctx = context.Background()

// fixture is one server, and what tests use to look at it.
type fixture struct {
	*testing.T
	server *redistest.Server
	raw    *redis.Client
}

func start(t *testing.T, flags ...string) *fixture {
	t.Helper()
	server := redistest.Start(t, flags...)
	return &fixture{T: t, server: server, raw: server.Client()}
}

// scriptless are a server's flags that take its scripts away.
var scriptless = []string{"--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""}

// bothWays runs a test with a server that takes scripts, and with one that refuses them.
func bothWays(t *testing.T, test func(f *fixture)) {
	t.Helper()
	t.Run("by scripts", func(t *testing.T) { test(start(t)) })
	t.Run("by transactions", func(t *testing.T) { test(start(t, scriptless...)) })
}

// open is a storage with connections of its own, as another node has it.
func (f *fixture) open(opts ...redisstore.Option) *redisstore.Storage {
	f.Helper()
	s, err := redisstore.Open(f.server.URL(), opts...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { f.check(s.Close(ctx)) })
	return s
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// set writes a session as another program does.
func (f *fixture) set(id, content string) {
	f.Helper()
	f.check(f.raw.Set(ctx, id, content, ttl).Err())
}

// want compares what the server holds, "" for no key.
func (f *fixture) want(id, content string) {
	f.Helper()
	got, err := f.raw.Get(ctx, id).Result()
	if err != nil && err != redis.Nil {
		f.Fatal(err)
	}
	if got != content {
		f.Fatalf("the server holds %.200q, want %.200q", got, content)
	}
}

// load is a GetSession that finds one.
func (f *fixture) load(s gsession.Storage, id string) *gmap.StrAnyMap {
	f.Helper()
	m, err := s.GetSession(ctx, id, ttl)
	if err != nil || m == nil {
		f.Fatalf("GetSession returned %v, %v", m, err)
	}
	return m
}

// base is a Load that finds a session.
func (f *fixture) base(s *redisstore.Storage, id string) *tiers.Snapshot {
	f.Helper()
	read, err := s.Load(ctx, id, ttl)
	if err != nil || read.Snapshot == nil {
		f.Fatalf("Load returned %v, %v", read, err)
	}
	return read.Snapshot
}

// private fails on an error text that quotes what it mustn't, and on none at all.
func private(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, secret := range []string{secretID, secretKey, secretValue, "127.0.0.1"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows what it mustn't: %v", err)
		}
	}
	if !strings.HasPrefix(err.Error(), "strata: ") {
		t.Errorf("the error doesn't say whose it is: %v", err)
	}
}

// delta unpacks a constructor's answer.
func delta(d *tiers.Delta, err error) *tiers.Delta {
	if err != nil {
		panic(err)
	}
	return d
}

type values = map[string]any

func startCluster(t *testing.T) *redistest.Cluster { return redistest.StartCluster(t, 3) }
