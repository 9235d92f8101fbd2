package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// batching is a store that takes batches. mu guards sizes; delay and batch are set before use.
type batching struct {
	*teststore.Store
	delay time.Duration
	batch func([]tiers.Commit) // nil for none; called under mu

	mu    sync.Mutex
	sizes []int
}

func (b *batching) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	time.Sleep(b.delay)
	b.mu.Lock()
	if b.sizes = append(b.sizes, len(commits)); b.batch != nil {
		b.batch(commits)
	}
	b.mu.Unlock()
	results := make([]tiers.Committed, len(commits))
	for n, c := range commits {
		results[n].Snapshot, results[n].Err = b.Store.Commit(ctx, c.ID, c.Delta, c.TTL)
	}
	return results
}

func (b *batching) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	done := b.CommitAll(ctx, []tiers.Commit{{ID: id, Delta: delta, TTL: life}})[0]
	return done.Snapshot, done.Err
}

func TestSessionsThatWaitGoTogether(t *testing.T) {
	b := &batching{Store: teststore.New(), delay: time.Millisecond}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		var group sync.WaitGroup
		for n := range 1000 {
			group.Go(func() {
				if err := replace(t, c, fmt.Sprint(n), n); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for n := range 1000 {
			if got := get(t, c, fmt.Sprint(n)).Get("k"); got != n {
				t.Errorf("session %d holds %v", n, got)
			}
		}
		if trips := len(b.sizes); trips > 20 {
			t.Errorf("%d round trips for 1,000 commits that were due together", trips)
		}
	})
}

// A server may close the connection on a write that is too large, so that the replies of those beside it are lost.
func TestALargeWriteGoesAlone(t *testing.T) {
	b := &batching{Store: teststore.New(), delay: time.Millisecond}
	beside := 0
	b.batch = func(commits []tiers.Commit) {
		for _, c := range commits {
			if text, _ := c.Delta.Set()["k"].(string); text != "" && len(commits) > 1 {
				beside += len(commits) - 1
			}
		}
	}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		for n := range 100 {
			b.Put(fmt.Sprint(n), map[string]any{"k": "0"}, ttl)
			put(t, c, fmt.Sprint(n), "k", strings.Repeat("x", n%10/9<<20))
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if len(b.sizes) > 50 || beside > 0 {
			t.Errorf("batches of %v, in which %d writes went with a large one", b.sizes, beside)
		}
	}, writeBehind(time.Hour))
}

// Commits that become due one after the other go together, a little before their time.
func TestCommitsGoWithOneThatIsDue(t *testing.T) {
	b := &batching{Store: teststore.New()}
	const sessions = 100
	for n := range sessions {
		b.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
	}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		for n := range sessions {
			put(t, c, fmt.Sprint(n), "k", 1)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(80 * time.Millisecond)
		synctest.Wait()
		// Those go together that are due within the same 10 ms, an eighth of the interval.
		if want := slices.Repeat([]int{10}, 10); !slices.Equal(b.sizes, want) {
			t.Errorf("%v commits went together, want %v", b.sizes, want)
		}
	}, writeBehind(80*time.Millisecond))
}

// Within one session order is kept, and each caller gets its own outcome.
func TestABatchKeepsOrderAndOutcomes(t *testing.T) {
	b := &batching{Store: teststore.New(), delay: time.Millisecond}
	refused := errors.New("refused")
	b.OnCommit = func(_ context.Context, id string) error {
		if id == "bad" {
			return refused
		}
		return nil
	}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		var group sync.WaitGroup
		for n := range 200 {
			group.Go(func() {
				if err := replace(t, c, fmt.Sprint(n%50), n); err != nil {
					t.Error(err)
				}
			})
			group.Go(func() {
				if err := replace(t, c, "bad", n); !errors.Is(err, refused) {
					t.Errorf("error %v, want the store's", err)
				}
			})
			synctest.Wait()
		}
		group.Wait()
		for n := range 50 {
			if got := get(t, c, fmt.Sprint(n)).Get("k"); got != 150+n {
				t.Errorf("session %d holds %v, want the last that was written, %d", n, got, 150+n)
			}
		}
	})
}

// A store that panics with a batch fails what is in it, and shows no caller another's panic.
func TestAPanicInABatchIsRaisedInNoCaller(t *testing.T) {
	b := &batching{Store: teststore.New(), delay: time.Millisecond}
	var panics atomic.Bool
	panics.Store(true)
	b.OnCommit = func(_ context.Context, id string) error {
		if panics.Load() && !strings.HasPrefix(id, "first") {
			panic("store")
		}
		return nil
	}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		var holding sync.WaitGroup
		for n := range 4 { // each pipeline is busy
			holding.Go(func() {
				if err := replace(t, c, fmt.Sprint("first", n), n); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		var group sync.WaitGroup
		for n := range 40 {
			group.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("a caller panics: %v", p)
					}
				}()
				if err := replace(t, c, fmt.Sprint(n), n); err == nil {
					t.Error("a write that panicked was returned nil")
				}
			})
		}
		holding.Wait()
		group.Wait()
		panics.Store(false)
		if err := replace(t, c, "0", 1); err != nil {
			t.Error(err)
		}
	})
}

func TestRemovalsAmongBatches(t *testing.T) {
	b := &batching{Store: teststore.New(), delay: time.Millisecond}
	bubble(t, b, func(t *testing.T, c *coalesce.Storage) {
		var group sync.WaitGroup
		for n := range 300 {
			id := fmt.Sprint(n)
			b.Put(id, map[string]any{"user": n}, ttl)
			base := get(t, c, id)
			group.Go(func() { c.Commit(ctx, id, change(t, base, "late", n), ttl) })
			group.Go(func() {
				if err := c.RemoveAll(ctx, id); err != nil {
					t.Error(err)
				}
				if get(t, c, id) != nil {
					t.Errorf("session %s is there after its removal", id)
				}
			})
		}
		group.Wait()
		for n := range 300 {
			if get(t, c, fmt.Sprint(n)) != nil {
				t.Errorf("session %d is back", n)
			}
		}
	})
}
