package layer_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// lines take a log. mu guards text.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logged is a Traced whose chain logs into lines.
func logged() (layer.Decorator, *lines) {
	l := &lines{}
	return layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(l, nil)))), l
}

// away is a memory store that takes no writes while it is away.
type away struct {
	*gsession.StorageMemory
	mu   sync.Mutex
	back bool
	wait chan struct{} // writes take until it is closed; nil: no time
}

func (a *away) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if a.wait != nil {
		<-a.wait
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.back {
		return errors.New("away")
	}
	return a.StorageMemory.SetSession(ctx, id, m, ttl)
}

func (a *away) returns(back bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.back = back
}

// What is found while a chain is built goes where all of it logs.
func TestWhatIsFoundWhileAChainIsBuiltIsLoggedWithTheRest(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	store := &away{StorageMemory: gsession.NewStorageMemory()}
	behind := layer.Coalesced(layer.WriteBehind(time.Hour), layer.Journal(dir))
	chain := layer.Chain(store, behind)
	s := gsession.New(50*time.Millisecond, chain).New(ctx, "late")
	s.MustSet("k", 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := chain.Close(over); err == nil {
		t.Fatal("the store has taken it")
	}
	if !polled(10*time.Second, func() bool { // until the session has expired
		traced, l := logged()
		next := layer.Chain(store, behind, traced)
		_ = next.Close(over)
		return strings.Contains(l.String(), "expired before the journal was read again")
	}) {
		t.Error("what the journal had lost isn't logged where the chain logs")
	}

	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { _ = ring.Close() }()
	traced, l := logged()
	chain = layer.Chain(redisstore.New(ring), layer.Local(), traced)
	defer func() { _ = chain.Close(ctx) }()
	if !strings.Contains(l.String(), "changes of the store aren't announced") {
		t.Errorf("logged %q, and not that the store can't announce", l)
	}
}

// A client that goes away is no warning where the write goes on, and one where it is lost.
func TestAClientThatGoesAwayIsNoWarning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		below   []layer.Decorator
		back    bool
		written bool
		warned  string
	}{
		"written":          {[]layer.Decorator{layer.Coalesced(), layer.Local()}, true, true, ""},
		"lost":             {[]layer.Decorator{layer.Coalesced(), layer.Local()}, false, false, "the request had gone by then"},
		"without a keeper": {[]layer.Decorator{layer.Local()}, true, false, "a session could not be written"},
	} {
		ctx := context.Background()
		store := &away{StorageMemory: gsession.NewStorageMemory(), back: c.back, wait: make(chan struct{})}
		traced, l := logged()
		chain := layer.Chain(cancelled{store}, append(c.below, traced)...)
		gone, cancel := context.WithCancel(ctx)
		s := gsession.New(time.Hour, chain).New(gone, "gone")
		s.MustSet("k", 1)
		cancel()
		close(store.wait)
		if err := s.Close(); !errors.Is(err, context.Canceled) && c.written {
			t.Errorf("%s: the close answered %v", name, err)
		}
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
		if m, _ := store.GetSession(ctx, "gone", time.Hour); (m != nil && m.Get("k") != nil) != c.written {
			t.Errorf("%s: the store holds %v", name, m)
		}
		if text := l.String(); c.warned == "" && text != "" || !strings.Contains(text, c.warned) {
			t.Errorf("%s: logged %q, want %q", name, text, c.warned)
		}
	}
}

// cancelled is a store that heeds its context.
type cancelled struct{ *away }

func (c cancelled) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.away.SetSession(ctx, id, m, ttl)
}
