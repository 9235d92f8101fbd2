package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

func testSealed() layer.Decorator {
	return sealed(bytes.Repeat([]byte("e"), 32), bytes.Repeat([]byte("n"), 32))
}

// A decorator that encrypts keeps the laws below and above the others, and at both ends.
func TestEncryptingDecoratorConforms(t *testing.T) {
	server := redistest.Start(t)
	for name, decorators := range map[string][]layer.Decorator{
		"alone": {testSealed()},
		"below": {testSealed(), patientCoalesced(), patientLocal(), layer.Traced()},
		"above": {patientCoalesced(), patientLocal(), strange, testSealed()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opener := func(t *testing.T) func() gsession.Storage {
				prefix := gsession.NewSessionId()
				return func() gsession.Storage { return redisstore.New(client(t, server), redisstore.Prefix(prefix)) }
			}
			chain := func(t *testing.T, store gsession.Storage) gsession.Storage {
				c := layer.Chain(store, decorators...)
				t.Cleanup(func() { _ = c.Close(context.Background()) })
				return c
			}
			layertest.Run(t, func(t *testing.T) gsession.Storage { return chain(t, opener(t)()) },
				layertest.Revoked(layer.ErrRevoked),
				layertest.Except(1, "odd keys", "the store keeps a key that isn't UTF-8 as another one, and a sealed value is bound to its key"),
				layertest.Except(7, "close of the storage", "the suite looks at the store below, which holds texts that only the decorator reads"),
				layertest.Bare(func(t *testing.T) gsession.Storage { return opener(t)() }),
				layertest.Wrapped(func(t *testing.T, wrap func(gsession.Storage) gsession.Storage) gsession.Storage {
					return chain(t, wrap(opener(t)()))
				}),
				layertest.Nodes(func(t *testing.T) (a, b gsession.Storage) {
					open := opener(t)
					return chain(t, open()), chain(t, open())
				}))
		})
	}
}

// batches records how sessions reach the store.
type batches struct {
	*teststore.Store
	commits, loads []int
}

func (b *batches) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	b.commits = append(b.commits, len(commits))
	return tiers.Base{Storage: b.Store}.CommitAll(ctx, commits)
}

func (b *batches) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	b.loads = append(b.loads, len(loads))
	return tiers.Base{Storage: b.Store}.LoadAll(ctx, loads)
}

// A decorator made by the documented recipe loses no capability, and claims none that isn't below.
func TestAroundPassesBatchesOn(t *testing.T) {
	ctx := context.Background()
	for name, decorator := range map[string]layer.Decorator{
		"Base": layer.Around(func(below tiers.Storage) tiers.Storage {
			return &counter{Base: tiers.Base{Storage: below}}
		}),
		"Mapped": testSealed(),
		"Traced": layer.Traced(),
	} {
		store := &batches{Store: teststore.New()}
		outer := decorator(store).(tiers.Storage)
		batcher, reloader := tiers.BatcherOf(outer), tiers.ReloaderOf(outer)
		if batcher == nil || reloader == nil {
			t.Fatalf("%s hides batches, or reloads", name)
		}
		one, _ := tiers.Add(map[string]any{"k": "one"})
		two, _ := tiers.Add(map[string]any{"k": "two"})
		for _, done := range batcher.CommitAll(ctx, []tiers.Commit{{ID: "a", Delta: one, TTL: time.Hour}, {ID: "b", Delta: two, TTL: time.Hour}}) {
			if done.Err != nil {
				t.Fatal(done.Err)
			}
		}
		read := reloader.LoadAll(ctx, []tiers.Reload{{ID: "a", TTL: time.Hour}, {ID: "b", TTL: time.Hour}})
		if fmt.Sprint(store.commits, store.loads) != "[2] [2]" {
			t.Errorf("%s: commits %v and loads %v reached the store, want one of two each", name, store.commits, store.loads)
		}
		if read[0].Read.Snapshot.Get("k") != "one" || read[1].Read.Snapshot.Get("k") != "two" {
			t.Errorf("%s: the batch returns %v", name, read)
		}
		if inner := decorator(teststore.New()).(tiers.Storage); tiers.BatcherOf(inner) != nil || tiers.ReloaderOf(inner) != nil {
			t.Errorf("%s claims batches over a store that takes none", name)
		}
	}
}

// A layer above that knows maps only gets what the decorator shows, and its change goes the
// decorator's way.
func TestAroundServesStrangers(t *testing.T) {
	ctx, store := context.Background(), gsession.NewStorageMemory()
	chain := layer.Chain(store, testSealed(), strange)
	defer func() { _ = chain.Close(ctx) }()
	if err := chain.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"user": "ann"}, true), time.Hour); err != nil {
		t.Fatal(err)
	}
	if kept, _ := store.GetSession(ctx, "a", time.Hour); kept.Get("user") == "ann" || kept.Get("user") == nil {
		t.Errorf("the store holds %v", kept)
	}
	m, err := chain.GetSession(ctx, "a", time.Hour)
	if err != nil || m.Get("user") != "ann" {
		t.Fatalf("GetSession = %v, %v", m, err)
	}
}

// ended is a decorator that has something to end.
type ended struct {
	tiers.Base
	flushes, closes int
}

func (e *ended) Flush(context.Context) error { e.flushes++; return nil }
func (e *ended) Close(context.Context) error { e.closes++; return nil }

func TestAroundIsFlushedAndClosedWithTheChain(t *testing.T) {
	var own *ended
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Around(func(below tiers.Storage) tiers.Storage {
		own = &ended{Base: tiers.Base{Storage: below}}
		return own
	}), patientLocal())
	if err := chain.Close(context.Background()); err != nil || own.flushes != 1 || own.closes != 1 {
		t.Errorf("flushed %d times, closed %d, %v", own.flushes, own.closes, err)
	}
}

// before calls do once, ahead of the commit or removal with the given number.
type before struct {
	tiers.Base
	calls, at int
	do        func()
}

func (b *before) next() {
	if b.calls++; b.calls == b.at {
		b.do()
	}
}

func (b *before) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	b.next()
	return b.Base.Commit(ctx, id, delta, ttl)
}

func (b *before) RemoveAll(ctx context.Context, id string) error {
	b.next()
	return b.Base.RemoveAll(ctx, id)
}

// Whenever another node commits under the id from before a log-in, its change is in the session
// under the new id, or it gets an error.
func TestLogInLosesNothingOfAnotherNode(t *testing.T) {
	ctx, server := t.Context(), redistest.Start(t)
	for at := 1; ; at++ {
		prefix := gsession.NewSessionId()
		here, there := redisstore.New(client(t, server), redisstore.Prefix(prefix)), layer.Chain(redisstore.New(client(t, server), redisstore.Prefix(prefix)))
		if err := there.SetSession(ctx, "old", gmap.NewStrAnyMapFrom(map[string]any{"theme": "light"}, true), time.Hour); err != nil {
			t.Fatal(err)
		}
		theirs, err := there.GetSession(ctx, "old", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		theirs.Set("cart", "full")
		var (
			got  error
			hook = &before{at: at, do: func() { got = there.SetSession(ctx, "old", theirs, time.Hour) }}
		)
		chain := layer.Chain(here, layer.Around(func(below tiers.Storage) tiers.Storage { hook.Storage = below; return hook }))
		request := gsession.New(time.Hour, chain).New(ctx, "old")
		request.MustSet("user", "ann")
		id, err := request.RegenerateId(true)
		if err != nil {
			t.Fatal(err)
		}
		m, err := there.GetSession(ctx, id, time.Hour)
		if err != nil || m == nil {
			t.Fatalf("the session under the new id is %v, %v", m, err)
		}
		if got == nil && hook.calls >= at && m.Get("cart") != "full" || got != nil && !errors.Is(got, layer.ErrRevoked) {
			t.Errorf("before call %d of %d: the other node got %v, and the session holds %v", at, hook.calls, got, m)
		}
		if m.Get("user") != "ann" || m.Get("theme") != "light" {
			t.Errorf("before call %d of %d: the session holds %v", at, hook.calls, m)
		}
		_, _ = chain.Close(ctx), there.Close(ctx)
		if hook.calls < at {
			return
		}
	}
}
