package layer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

func topics(t *testing.T, client redis.UniversalClient, opts ...redisstore.Option) (found []string) {
	t.Helper()
	store := redisstore.New(client, opts...)
	chain := layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced())
	defer func() {
		if err := chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, a := range layer.Advice(chain) {
		if a.Text == "" || strings.Contains(a.Text, "127.0.0.1") {
			t.Errorf("%s: %q", a.Topic, a.Text)
		}
		found = append(found, a.Topic)
	}
	return found
}

func TestAdvice(t *testing.T) {
	server := redistest.Start(t)
	good := func() *redis.Options {
		return &redis.Options{Addr: server.Addr(), ReadTimeout: time.Second, ContextTimeoutEnabled: true}
	}
	prefix := redisstore.Prefix("app:")
	ask := func(o *redis.Options, opts ...redisstore.Option) []string {
		client := redis.NewClient(o)
		defer func() { _ = client.Close() }()
		return topics(t, client, opts...)
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: advice about %v, want %v", what, got, want)
		}
	}
	want("a good set-up", ask(good(), prefix))
	want("no prefix", ask(good()), "prefix")
	slow := good()
	slow.ReadTimeout, slow.ContextTimeoutEnabled, slow.Protocol = -1, false, 2
	want("a careless client", ask(slow, prefix), "timeout", "context", "protocol")

	ctx, admin := context.Background(), server.Client()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(admin.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	want("an eviction policy", ask(good(), prefix), "eviction")
	check(admin.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())

	check(admin.Do(ctx, "acl", "setuser", "shop", "on", ">word", "~app:*", "&*", "+@all", "-@dangerous").Err())
	limited := good()
	limited.Username, limited.Password = "shop", "word"
	want("a user who may not ask", ask(limited, prefix))

	gone := good()
	gone.Addr = "127.0.0.1:1"
	gone.MaxRetries, gone.DialerRetries = -1, 1
	want("no server", ask(gone, prefix))
}
