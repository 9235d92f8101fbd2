package layer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A server has as many clients as it takes, and a node has lost its connections. The node serves nothing that
// is older than the lease, the reason is known, and all is well again when the server takes connections.
func TestAServerWithTooManyClients(t *testing.T) {
	t.Parallel()
	const lease = 200 * time.Millisecond
	ctx, server := context.Background(), redistest.Start(t)
	admin := server.Client()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ClientName: "node", MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = client.Close() }()
	store, other := redisstore.New(client, redisstore.WatchLease(lease)), redisstore.New(admin)
	chain := layer.Chain(store, patientCoalesced(), patientLocal())
	watched(t, chain)
	m, err := other.GetSession(ctx, "watched", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	most := admin.ConfigGet(ctx, "maxclients").Val()["maxclients"]
	if err := admin.ConfigSet(ctx, "maxclients", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(admin.ClientList(ctx).Val(), "\n") {
		if !strings.Contains(line, " name=node ") {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		admin.ClientKillByFilter(ctx, "ID", id)
	}
	m.Set("n", 2)
	if err := other.SetSession(ctx, "watched", m, time.Hour); err != nil {
		t.Fatal(err)
	}
	for written := time.Now(); time.Since(written) < 2*lease || store.InvalidationErr() == nil; {
		began := time.Now()
		seen, err := chain.GetSession(ctx, "watched", time.Hour)
		if err == nil && began.After(written.Add(lease)) && fmt.Sprint(seen.Get("n")) != "2" {
			t.Fatalf("a read shows %v", seen)
		}
	}
	poll.Try(func() bool { // the first reason may be another one
		_, err = store.Load(ctx, "unknown", time.Hour)
		return isCrowded(err) && isCrowded(store.InvalidationErr())
	})
	if !isCrowded(err) || !isCrowded(store.InvalidationErr()) {
		t.Errorf("a read gets %v, and no invalidations come as %v", err, store.InvalidationErr())
	}
	if err := admin.ConfigSet(ctx, "maxclients", most).Err(); err != nil {
		t.Fatal(err)
	}
	if !poll.Try(func() bool {
		seen, err := chain.GetSession(ctx, "watched", time.Hour)
		return err == nil && fmt.Sprint(seen.Get("n")) == "2" && store.InvalidationErr() == nil
	}) {
		t.Errorf("the server isn't found again: %v", store.InvalidationErr())
	}
	if err := chain.Close(ctx); err != nil {
		t.Error(err)
	}
}

// isCrowded reports whether an error says that a server takes no more connections, or may not.
func isCrowded(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "no more connections") || strings.Contains(err.Error(), "as many clients as it takes"))
}
