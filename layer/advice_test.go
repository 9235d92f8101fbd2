package layer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// topics returns the topics of the advice for a chain. It asks until these are the wanted ones, or for a while, as
// the chain finds out in the background whether invalidations arrive.
func topics(t *testing.T, client redis.UniversalClient, want []string, opts ...redisstore.Option) (found []string) {
	t.Helper()
	store := redisstore.New(client, opts...)
	chain := layer.Chain(store, layer.Coalesced(), patientLocal(), layer.Traced())
	defer func() {
		if err := chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	poll.Try(func() bool {
		found = nil
		for _, a := range layer.Advice(chain) {
			if a.Text == "" || strings.Contains(a.Text, "127.0.0.1") {
				t.Errorf("%s: %q", a.Topic, a.Text)
			}
			found = append(found, a.Topic)
		}
		return slices.Equal(found, want)
	})
	return found
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	good := func() *redis.Options {
		return &redis.Options{Addr: server.Addr()}
	}
	prefix := redisstore.Prefix("app:")
	ask := func(o *redis.Options, opts ...redisstore.Option) func(want []string) []string {
		return func(want []string) []string {
			t.Helper()
			client := redis.NewClient(o)
			defer func() { _ = client.Close() }()
			return topics(t, client, want, opts...)
		}
	}
	want := func(what string, ask func(want []string) []string, want ...string) {
		t.Helper()
		if got := ask(want); !slices.Equal(got, want) {
			t.Errorf("%s: advice about %v, want %v", what, got, want)
		}
	}
	want("a good set-up", ask(good(), prefix))
	want("no prefix", ask(good()), "prefix")
	slow := good()
	slow.ReadTimeout, slow.Protocol = -1, 2
	want("a careless client", ask(slow, prefix), "timeout", "protocol")

	ctx, admin := context.Background(), server.Client()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, policy := range []string{"allkeys-lru", "volatile-lru"} {
		check(admin.ConfigSet(ctx, "maxmemory-policy", policy).Err())
		want(policy, ask(good(), prefix), "eviction")
	}
	check(admin.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())

	check(admin.Do(ctx, "acl", "setuser", "shop", "on", ">word", "~app:*", "&*", "+@all", "-@dangerous").Err())
	limited := good()
	limited.Username, limited.Password = "shop", "word"
	want("a user who may not ask", ask(limited, prefix), "info")
	check(admin.Do(ctx, "acl", "setuser", "shop", "+info").Err())
	want("a user who may ask", ask(limited, prefix))
	check(admin.Do(ctx, "acl", "setuser", "shop", "-client|tracking").Err())
	want("a user who may not receive changes", ask(limited, prefix), "tracking")

	gone := good()
	gone.Addr = "127.0.0.1:1"
	gone.MaxRetries, gone.DialerRetries = -1, 1
	want("no server", ask(gone, prefix))
}

// Advice is logged once by the chain itself, and a good set-up logs nothing.
func TestAdviceIsLoggedAfterTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	chainOf := func(opts ...redisstore.Option) (*layer.Stack, *teststore.Log) {
		traced, log := logged()
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		chain := layer.Chain(redisstore.New(client, opts...), layer.Coalesced(), layer.Local(), traced)
		t.Cleanup(func() {
			if err := chain.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return chain, log
	}
	_, good := chainOf(redisstore.Prefix("app:"))
	_, bad := chainOf()
	const line = "give redisstore a Prefix"
	poll.Until(t, "the advice is logged", func() bool { return strings.Contains(bad.String(), line) })
	if n := strings.Count(bad.String(), "strata:"); n != 1 {
		t.Errorf("%d lines are logged, want 1:\n%s", n, bad)
	}
	if good.String() != "" {
		t.Errorf("a good set-up logs\n%s", good)
	}
}

// hushed is a store whose advice never comes, unless its context ends.
type hushed struct {
	*gsession.StorageMemory
	asked chan struct{}
}

func (h *hushed) Advise(ctx context.Context) []tiers.Advice {
	close(h.asked)
	<-ctx.Done()
	panic("an adviser that fails")
}

// A closed chain asks no advisers, and an adviser that fails doesn't end the program.
func TestCloseEndsAdvisers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before := &hushed{StorageMemory: gsession.NewStorageMemory(), asked: make(chan struct{})}
		if err := layer.Chain(before).Close(context.Background()); err != nil {
			t.Error(err)
		}
		while := &hushed{StorageMemory: gsession.NewStorageMemory(), asked: make(chan struct{})}
		chain := layer.Chain(while)
		<-while.asked
		if err := chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
		select {
		case <-before.asked:
			t.Error("a chain that was closed has asked")
		default:
		}
	})
}

func TestOnClose(t *testing.T) {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local())
	var order []int
	for n := range 3 {
		chain.OnClose(func() { order = append(order, n) })
	}
	if err := chain.Close(context.Background()); err != nil || !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("%v, %v", order, err)
	}
	chain.OnClose(func() { order = nil })
	if order != nil {
		t.Error("what comes later isn't called")
	}
}

// mute is a storage whose style isn't known, as it doesn't reply.
type mute struct{ *gsession.StorageBase }

var errNoReply = errors.New("no reply")

func (mute) Get(context.Context, string, string) (any, error) { return nil, errNoReply }

func (mute) Data(context.Context, string) (map[string]any, error) { return nil, errNoReply }

func (mute) GetSession(context.Context, string, time.Duration) (*gmap.StrAnyMap, error) {
	return nil, errNoReply
}

func TestAdviceForADirectStore(t *testing.T) {
	for name, c := range map[string]struct {
		store      gsession.Storage
		decorators []layer.Decorator
		want       bool
	}{
		"Coalesced":        {teststore.NewKeys(nil), []layer.Decorator{layer.Coalesced()}, true},
		"Local":            {teststore.NewKeys(nil), []layer.Decorator{layer.Local()}, true},
		"Traced alone":     {teststore.NewKeys(nil), []layer.Decorator{layer.Traced()}, false},
		"Snapshots":        {teststore.NewKeys(nil), []layer.Decorator{layer.Snapshots(), layer.Coalesced(), layer.Local()}, false},
		"whole sessions":   {gsession.NewStorageMemory(), []layer.Decorator{layer.Coalesced(), layer.Local()}, false},
		"an unknown style": {mute{}, []layer.Decorator{layer.Coalesced(), layer.Local()}, false},
	} {
		t.Run(name, func(t *testing.T) {
			chain := layer.Chain(c.store, c.decorators...)
			defer func() {
				if err := chain.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			given := slices.ContainsFunc(layer.Advice(chain), func(a tiers.Advice) bool {
				return a.Topic == "store" && strings.Contains(a.Text, "put layer.Snapshots() right on the store")
			})
			if given != c.want {
				t.Errorf("advice for Snapshots is given: %v", given)
			}
		})
	}
}
