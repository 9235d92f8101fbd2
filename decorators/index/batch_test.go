package index_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/index"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

const ttl = time.Hour

// batching is a store that takes batches, and notes how many sessions each had.
type batching struct {
	*teststore.Store
	commits, loads []int
}

func (b *batching) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	b.commits = append(b.commits, len(commits))
	results := make([]tiers.Committed, len(commits))
	for n, c := range commits {
		results[n].Snapshot, results[n].Err = b.Commit(ctx, c.ID, c.Delta, c.TTL)
	}
	return results
}

func (b *batching) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	b.loads = append(b.loads, len(loads))
	results := make([]tiers.Reloaded, len(loads))
	for n, l := range loads {
		results[n].Read, results[n].Err = b.Load(ctx, l.ID, l.TTL)
	}
	return results
}

func userOf(data map[string]any) string { user, _ := data["user"].(string); return user }

func logIn(t *testing.T, user string) *tiers.Delta {
	t.Helper()
	delta, err := tiers.Replace(map[string]any{"user": user})
	if err != nil {
		t.Fatal(err)
	}
	return delta
}

// A layer above finds that batches and reloads pass, each session of them is entered in the index
// or refused as it would be alone, and those that pass go on together.
func TestBatchesAndReloadsPassTogether(t *testing.T) {
	ctx := t.Context()
	store := &batching{Store: teststore.New()}
	options := index.Defaults()
	options.Limit = index.Limit{Most: 1, Refuse: true}
	s := index.New(store, userOf, options)
	defer func() { _ = s.Close(context.Background()) }()

	batcher := tiers.BatcherOf(s)
	if batcher == nil {
		t.Fatal("the index takes no batches, though the store below does")
	}
	var commits []tiers.Commit
	for n, user := range []string{"ann", "bob", "ann", "cay"} {
		commits = append(commits, tiers.Commit{ID: fmt.Sprintf("session-%d", n), Delta: logIn(t, user), TTL: ttl})
	}
	for n, r := range batcher.CommitAll(ctx, commits) {
		if refused := errors.Is(r.Err, index.ErrLimit); refused != (n == 2) || !refused && r.Err != nil {
			t.Errorf("commit %d returned %v", n, r.Err)
		}
	}
	if len(store.commits) != 1 || store.commits[0] != 3 {
		t.Errorf("batches of %v sessions reached the store, want one of 3", store.commits)
	}

	if err := s.Principals().RevokeEverybody(ctx, "over"); err != nil {
		t.Fatal(err)
	}
	store.loads = nil
	reloader := tiers.ReloaderOf(s)
	if reloader == nil {
		t.Fatal("the index reads sessions one by one, though the store below reads several")
	}
	for n, r := range reloader.LoadAll(ctx, []tiers.Reload{{ID: "session-0", TTL: ttl}, {ID: "session-1", TTL: ttl}}) {
		if r.Err != nil || r.Read.Snapshot != nil {
			t.Errorf("load %d returned %v, %v, though the session is over", n, r.Read.Snapshot.Map(), r.Err)
		}
	}
	if len(store.loads) != 1 || store.loads[0] != 2 {
		t.Errorf("reloads of %v sessions reached the store, want one of 2", store.loads)
	}

	alone := index.New(teststore.New(), userOf, index.Defaults())
	defer func() { _ = alone.Close(context.Background()) }()
	if tiers.BatcherOf(alone) != nil || tiers.ReloaderOf(alone) != nil {
		t.Error("the index promises batches that the store below doesn't take")
	}
}
