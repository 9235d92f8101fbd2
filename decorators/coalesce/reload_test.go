package coalesce_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// reloading is a store that reads several sessions together. reads and between are for
// one goroutine.
type reloading struct {
	*teststore.Store
	reads   [][]tiers.Reload
	between func() // after they are read, and before they are returned
}

var errUnread = errors.New("unread")

func (r *reloading) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	r.reads = append(r.reads, loads)
	results := make([]tiers.Reloaded, len(loads))
	for n, l := range loads {
		if l.ID == "bad" {
			results[n].Err = errUnread
			continue
		}
		results[n].Read, results[n].Err = r.Load(ctx, l.ID, l.TTL)
	}
	if r.between != nil {
		r.between()
	}
	return results
}

// Pending writes are laid over each, as over what Load reads, and a change that is
// committed meanwhile isn't missed.
func TestReadsOfSeveralSessionsShowWhatIsPending(t *testing.T) {
	s := &reloading{Store: teststore.New()}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		notified := &cache{}
		defer c.Follow(notified)()
		s.Put("plain", map[string]any{"k": 0}, ttl)
		s.Put("pending", map[string]any{"k": 0}, ttl)
		put(t, c, "pending", "k", 1)
		known := tiers.Adopt(map[string]any{"k": 0})
		loads := []tiers.Reload{
			{ID: "plain", TTL: ttl, Known: known}, {ID: "pending", TTL: ttl, Known: known},
			{ID: "bad", TTL: ttl, Known: known}, {ID: "none", TTL: ttl, Known: known},
		}
		check := func(want ...string) {
			t.Helper()
			for n, r := range tiers.ReloaderOf(c).LoadAll(ctx, loads) {
				switch {
				case loads[n].ID == "bad":
					if r.Err != errUnread {
						t.Errorf("error %v, want the store's", r.Err)
					}
				case r.Err != nil:
					t.Error(r.Err)
				case text(r.Read.Snapshot) != want[n]:
					t.Errorf("read %d shows %s, want %s", n, text(r.Read.Snapshot), want[n])
				}
			}
		}
		check("map[k:0]", "map[k:1]", "", "unknown")
		s.between = func() {
			s.Put("pending", map[string]any{"k": 0, "theirs": 1}, ttl)
			if err := c.Flush(ctx); err != nil {
				t.Error(err)
			}
		}
		check("map[k:0]", "map[k:1 theirs:1]", "", "unknown")
		if len(s.reads) != 2 || len(s.reads[1]) != len(loads) || s.reads[1][0].Known != known {
			t.Errorf("asked the store %d times for several, want once each, with what is known", len(s.reads))
		}
		synctest.Wait()
		if notified.open != 0 {
			t.Errorf("%d that have begun have not ended", notified.open)
		}
	}, writeBehind(time.Minute))
	if tiers.ReloaderOf(coalesce.New(teststore.New())) != nil {
		t.Error("a store that reads sessions one by one doesn't under Coalesced")
	}
}

// The store is given what it held, by which it recognises an unchanged session, and not what readers
// were shown in place of that.
func TestASessionWithPendingChangesIsReadAgainByWhatTheStoreHeld(t *testing.T) {
	s := &reloading{Store: teststore.New()}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("pending", map[string]any{"k": "0"}, ttl)
		base, err := c.Load(ctx, "pending", ttl)
		if err != nil {
			t.Fatal(err)
		}
		delta, err := tiers.Diff(base.Snapshot, map[string]any{"k": "1"})
		if err != nil {
			t.Fatal(err)
		}
		shown, err := c.Commit(ctx, "pending", delta, ttl)
		if err != nil || text(shown) != "map[k:1]" {
			t.Fatalf("a change shows %s, %v", text(shown), err)
		}
		r := tiers.ReloaderOf(c).LoadAll(ctx, []tiers.Reload{{ID: "pending", TTL: ttl, Known: shown}})[0]
		if r.Err != nil || text(r.Read.Snapshot) != "map[k:1]" {
			t.Errorf("read again it is %s, %v", text(r.Read.Snapshot), r.Err)
		}
		if s.reads[0][0].Known != base.Snapshot {
			t.Errorf("the store gets %s, want what it held", text(s.reads[0][0].Known))
		}
	}, writeBehind(time.Minute))
}
