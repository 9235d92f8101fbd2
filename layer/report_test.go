package layer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// logged is a Traced whose chain logs there.
func logged() (layer.Decorator, *teststore.Log) {
	l := &teststore.Log{}
	return layer.Traced(layer.Logger(slog.New(slog.NewTextHandler(l, nil)))), l
}

// away is a memory store that takes no writes unless it is back.
type away struct {
	*gsession.StorageMemory
	back bool
	wait chan struct{} // writes take until it is closed; nil: no time
}

func (a *away) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if a.wait != nil {
		<-a.wait
	}
	if !a.back {
		return errors.New("away")
	}
	return a.StorageMemory.SetSession(ctx, id, m, ttl)
}

// Warnings of a chain that is being built go to the chain's logger.
func TestWarningsOfAChainThatIsBeingBuiltAreLoggedByItsLogger(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	store := teststore.New()
	store.Refuse(func(string) error { return errors.New("away") })
	behind := patientCoalesced(layer.WriteBehind(time.Hour), layer.Journal(dir))
	chain := layer.Chain(store, behind)
	const life = 10 * time.Second // far longer than what comes until expired takes
	s := gsession.New(life, chain).New(ctx, "late")
	s.MustSet("k", 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expired := time.Now().Add(life)
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := chain.Close(over); err == nil {
		t.Fatal("the store has taken it")
	}
	poll.Try(func() bool { return time.Now().After(expired) })
	traced, l := logged()
	_ = layer.Chain(store, behind, traced).Close(over)
	if !poll.Try(func() bool { return strings.Contains(l.String(), "expired before the journal was read again") }) {
		t.Errorf("logged %q, and not what the journal had lost", l)
	}

	artificial := redis.NewClusterClient(&redis.ClusterOptions{ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return nil, nil }})
	defer func() { _ = artificial.Close() }()
	traced, l = logged()
	chain = layer.Chain(redisstore.New(artificial), patientLocal(), traced)
	defer func() { _ = chain.Close(ctx) }()
	if !poll.Try(func() bool { return strings.Contains(l.String(), "the store can't send invalidations") }) {
		t.Errorf("logged %q, and not that the store can't notify", l)
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
		"written":          {[]layer.Decorator{patientCoalesced(), patientLocal()}, true, true, ""},
		"lost":             {[]layer.Decorator{patientCoalesced(), patientLocal()}, false, false, "the request had gone by then"},
		"without a keeper": {[]layer.Decorator{patientLocal()}, true, false, "a session could not be written"},
	} {
		ctx := context.Background()
		store := &away{StorageMemory: gsession.NewStorageMemory(), back: c.back, wait: make(chan struct{})}
		traced, l := logged()
		chain := layer.Chain(cancelled{store}, append(c.below, traced)...)
		gone, cancel := context.WithCancel(ctx)
		s := gsession.New(time.Hour, chain).New(gone, "gone")
		s.MustSet("k", 1)
		cancel()
		if err := s.Close(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the close returned %v", name, err)
		}
		close(store.wait) // only now can the commit end
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

// With Traced in the advised place, spans say whether a read was pending or stale.
func TestSpansSayThatAReadWasPendingOrStale(t *testing.T) {
	t.Parallel()
	provider, option, exporter := tracedWith(t)
	ctx := context.Background()
	store := &teststore.Unread{Storage: gsession.NewStorageMemory()}
	chain := layer.Chain(store, patientCoalesced(layer.WriteBehind(time.Hour)),
		patientLocal(layer.MaxStale(0), layer.ServeStale(time.Hour)), layer.Traced(option))
	defer func() { _ = chain.Close(ctx) }()
	manager := gsession.New(time.Hour, chain)
	save := func(value string) {
		s := manager.New(ctx, "logged")
		s.MustSet("k", value)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	read := func(want string) []string {
		return underHandler(provider, exporter, func(ctx context.Context) {
			if got, err := manager.New(ctx, "logged").Get("k"); err != nil || got.String() != want {
				t.Errorf("read %v, %v, want %s", got, err, want)
			}
		})
	}
	save("1")
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	save("2")
	if got, want := read("2"), "session Load *local.Storage pending"; !slices.Contains(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	read("2")
	store.Away.Store(true)
	if got, want := read("2"), "session Load *local.Storage stale"; !slices.Contains(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
}

// A batch of commits is linked to the requests of all its sessions.
func TestABatchIsLinkedToItsRequests(t *testing.T) {
	t.Parallel()
	provider, option, exporter := tracedWith(t)
	ctx := context.Background()
	client := redistest.Start(t).Client()
	chain := layer.Chain(redisstore.New(client), layer.Traced(option), patientCoalesced(layer.WriteBehind(time.Hour)))
	manager := gsession.New(time.Hour, chain)
	save := func(ctx context.Context, n int) {
		s := manager.New(ctx, fmt.Sprint("batch", n%2))
		s.MustSet(fmt.Sprint(n), n)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	save(ctx, 0)
	save(ctx, 1)
	if err := chain.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	exporter.Reset()
	requests := map[string]bool{}
	for n := 2; n < 6; n++ {
		ctx, span := provider.Tracer("").Start(ctx, "request")
		requests[span.SpanContext().SpanID().String()] = true
		save(ctx, n)
		span.End()
	}
	if err := chain.Close(ctx); err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for _, span := range exporter.GetSpans() {
		if span.Name != "session CommitAll" && span.Name != "session Commit" {
			continue
		}
		for _, link := range span.Links {
			linked[link.SpanContext.SpanID().String()] = true
		}
		if !requests[span.Parent.SpanID().String()] {
			t.Errorf("%s is below %v", span.Name, span.Parent.SpanID())
		}
	}
	if !maps.Equal(linked, requests) {
		t.Errorf("linked to %v, want %v", linked, requests)
	}
}

// hungLog is a log whose lines are never written before its release.
type hungLog struct {
	slog.Handler
	release chan struct{}
}

func (s hungLog) Handle(context.Context, slog.Record) error { <-s.release; return nil }

// Neither a request, nor a source, nor Close waits for a log that hangs.
func TestALogThatHangsHoldsNoRequest(t *testing.T) {
	t.Parallel()
	log := hungLog{slog.DiscardHandler, make(chan struct{})}
	defer close(log.release)
	store := &distressed{Store: teststore.New()}
	chain := layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced(layer.Logger(slog.New(log))))
	store.Refuse(func(string) error { return errors.New("away") })
	done := make(chan struct{})
	go func() {
		defer close(done)
		m := gmap.NewStrAnyMapFrom(map[string]any{"k": 1})
		if err := chain.SetSession(context.Background(), "a", m, time.Hour); err == nil {
			t.Error("the store has taken it")
		}
		store.listener.Unsupported(errors.New("old"))
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = chain.Close(over)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("they wait for the log")
	}
}
