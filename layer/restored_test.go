package layer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// The server starts again with an older file. Memory doesn't mix the two: what is read is the older state, and a
// request that had loaded the newer one writes what it changed and nothing else.
func TestAServerThatGoesBackInTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer func() { _ = client.Close() }()
	chain := layer.Chain(redisstore.New(client), patientCoalesced(), patientLocal())
	ctx := context.Background()
	defer func() { _ = chain.Close(ctx) }()
	watched(t, chain)
	set := func(key string, value int) {
		t.Helper()
		m, err := chain.GetSession(ctx, "a", time.Hour)
		if err != nil || m == nil {
			t.Fatal(m, err)
		}
		m.Set(key, value)
		if err := chain.SetSession(ctx, "a", m, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	begun(t, chain, []string{"a"})
	set("n", 1)
	if err := client.Save(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	set("n", 2)
	late, err := chain.GetSession(ctx, "a", time.Hour)
	if err != nil || fmt.Sprint(late.Get("n")) != "2" {
		t.Fatal(late, err)
	}
	server.Stop()
	server.Restart(t)
	holds := func(n, other string) bool {
		m, err := chain.GetSession(ctx, "a", time.Hour)
		return err == nil && m != nil && fmt.Sprint(m.Get("n")) == n && fmt.Sprint(m.Get("other")) == other
	}
	poll.Until(t, "the older state is read", func() bool { return holds("1", "<nil>") })
	watched(t, chain)
	late.Set("other", 3)
	if err := chain.SetSession(ctx, "a", late, time.Hour); err != nil {
		t.Fatal(err)
	}
	if !holds("1", "3") {
		t.Error("what the request had read of the newer state is written back")
	}
}
