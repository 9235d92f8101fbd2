package layer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// node is a process with a full chain on a store.
func node(t *testing.T, store gsession.Storage, opts ...layer.LocalOption) (*layer.Stack, *gsession.Manager) {
	t.Helper()
	opts = append(opts, layer.MaxStale(time.Hour)) // so that only invalidations make it fresh
	chain := layer.Chain(store, patientCoalesced(), patientLocal(opts...), layer.Traced())
	t.Cleanup(func() {
		if err := chain.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return chain, gsession.New(time.Hour, chain)
}

// warm reads until the node serves the session from memory and asks the server nothing.
func warm(t *testing.T, client *redis.Client, manager *gsession.Manager, id string) {
	t.Helper()
	poll.Until(t, "a session that is read all the time is kept in memory", func() bool {
		before := gets(t, client)
		manager.New(context.Background(), id).MustData()
		return gets(t, client) == before
	})
}

// gets is how often the server was asked for a session.
func gets(t testing.TB, client *redis.Client) (n int) {
	t.Helper()
	info, err := client.InfoMap(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Sscanf(info["Commandstats"]["cmdstat_pttl"], "calls=%d", &n)
	return n
}

// A node that has a session in memory notices every change of it, by any client.
func TestANodeFollowsWhateverChanges(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t)
	client := server.Client()
	const prefix = "nodes:"
	_, here := node(t, redisstore.New(server.Client(), redisstore.Prefix(prefix)))
	_, there := node(t, redisstore.New(server.Client(), redisstore.Prefix(prefix)))
	old := gsession.New(time.Hour, gsession.NewStorageRedis(server.GoFrame(t), prefix))
	save := func(m *gsession.Manager, id, value string) error {
		request := m.New(ctx, id)
		return errors.Join(request.Set("k", value), request.Close())
	}
	for name, test := range map[string]struct {
		change func(id string) error
		want   string
	}{
		"another node":          {func(id string) error { return save(there, id, "new") }, "new"},
		"a log-out elsewhere":   {func(id string) error { return there.New(ctx, id).RemoveAll() }, ""},
		"a node without Strata": {func(id string) error { return save(old, id, "new") }, "new"},
		"redis-cli SET":         {func(id string) error { return client.Set(ctx, prefix+id, `{"k":"new"}`, time.Hour).Err() }, "new"},
		"redis-cli DEL":         {func(id string) error { return client.Del(ctx, prefix+id).Err() }, ""},
		"an expiry":             {func(id string) error { return client.PExpire(ctx, prefix+id, time.Millisecond).Err() }, ""},
		"FLUSHALL":              {func(string) error { return client.FlushAll(ctx).Err() }, ""},
		"a restart of Redis":    {func(string) error { server.Restart(t); return nil }, ""},
	} {
		id := gsession.NewSessionId()
		if !poll.Try(func() bool { return save(here, id, "old") == nil }) {
			t.Fatalf("%s: nothing can be saved", name)
		}
		warm(t, client, here, id)
		if err := test.change(id); err != nil {
			t.Fatal(err)
		}
		last := ""
		if !poll.Try(func() bool {
			value, err := here.New(ctx, id).Get("k")
			last = value.String()
			return err == nil && last == test.want
		}) {
			t.Errorf("after %s the node still reads %q, want %q", name, last, test.want)
		}
	}
}

// A store that watches the keys makes a chain over GoFrame's own storage follow what changes.
func TestAWatcherServesAnyStoreOnRedis(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t)
	client := server.Client()
	watcher := redisstore.New(client, redisstore.Prefix("bare:"))
	t.Cleanup(func() {
		if err := watcher.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	chain := layer.Chain(gsession.NewStorageRedis(server.GoFrame(t), "bare:"),
		patientLocal(layer.MaxStale(time.Hour), layer.Invalidation(watcher)))
	here := gsession.New(time.Hour, chain)
	request := here.New(ctx, "a")
	if err := errors.Join(request.Set("k", "old"), request.Close()); err != nil {
		t.Fatal(err)
	}
	read := func() string { return here.New(ctx, "a").MustGet("k").String() }
	poll.Until(t, "a session is kept in memory", func() bool {
		read()
		r, _ := chain.Unwrap().(loader).Load(ctx, "a", time.Hour)
		return r.Outcome.String() == "hit"
	})
	if err := client.Set(ctx, "bare:a", `{"k":"new"}`, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the change is seen", func() bool { return read() == "new" })
	if err := chain.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// loader is a layer that says how a read was served.
type loader interface {
	Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error)
}

// A dialer that ignores its context holds up nobody who closes the chain, or the store.
func TestCloseReturnsThoughADialerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, dialing := make(chan struct{}), make(chan struct{}, 1)
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: func(context.Context, string, string) (net.Conn, error) {
			select {
			case dialing <- struct{}{}:
			default:
			}
			<-release
			return nil, errors.New("released")
		}})
		defer client.Close()
		defer close(release)
		store := redisstore.New(client)
		chain := layer.Chain(store, layer.Coalesced(), layer.Local())
		<-dialing // of the watcher
		closes := func(what string, close func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := close(ctx)
			if waited := time.Since(began); waited > 1500*time.Millisecond { // the watcher waits for 2 s
				t.Errorf("%s: Close took %v", what, waited)
			}
			return err
		}
		if err := closes("the chain", chain.Close); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the chain: %v", err)
		}
		if err := closes("the store", store.Close); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the store: %v", err)
		}
	})
}
