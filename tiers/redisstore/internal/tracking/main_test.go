package tracking_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/redistest"
)

// GoFrame's packages start goroutines for good as they are imported.
func TestMain(m *testing.M) {
	redis.SetLogger(logged) // before anything reads it
	leaktest.Main(m)
}

// logged is what go-redis has logged.
var logged = &lines{}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Printf(_ context.Context, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call.
func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

const (
	// Texts that no error may hold.
	secretKey   = "key-90ab13"
	secretValue = "value-77d0ee"

	ttl = time.Minute
)

var ctx = context.Background()

type values = map[string]any

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

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// set writes a session as another program does.
func (f *fixture) set(key, content string) {
	f.Helper()
	f.check(f.raw.Set(ctx, key, content, ttl).Err())
}

// fake is a client of redistest.StartFake that tries once.
func fake(t testing.TB, reply func(command []string) string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: redistest.StartFake(t, reply), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func startCluster(t *testing.T) *redistest.Cluster { return redistest.StartCluster(t, 3) }

// private fails on an error text that quotes what it mustn't, and on none at all.
func private(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, secret := range []string{secretKey, secretValue, "127.0.0.1"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows what it mustn't: %v", err)
		}
	}
	if !strings.HasPrefix(err.Error(), "strata: ") {
		t.Errorf("the error doesn't say whose it is: %v", err)
	}
}
