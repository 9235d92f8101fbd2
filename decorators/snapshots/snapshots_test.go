package snapshots_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/snapshots"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

const ttl = time.Hour

func manager(s gsession.Storage) *gsession.Manager { return gsession.New(ttl, s) }

func want(t *testing.T, k *teststore.Keys, id, content string) {
	t.Helper()
	if got := fmt.Sprint(k.Holds(id)); got != content {
		t.Errorf("the store holds %s, want %s", got, content)
	}
}

func TestADirectStoreAsSnapshots(t *testing.T) {
	ctx := context.Background()
	k := teststore.NewKeys(map[string]map[string]any{"a": {"kept": "0", "changed": "1", "removed": "2"}})
	s := snapshots.New(k)
	if _, err := s.Get(ctx, "a", "kept"); !errors.Is(err, gsession.ErrorDisabled) {
		t.Errorf("Get returns %v, want ErrorDisabled", err)
	}

	before := k.Questions()
	request := manager(s).New(ctx, "a")
	for _, key := range []string{"kept", "changed", "removed"} {
		request.MustGet(key)
	}
	if reads := k.Questions() - before; reads > 3 { // twice for the style, once in a lifetime
		t.Errorf("%d reads for three keys of one request", reads)
	}
	request.MustSet("changed", "3")
	request.MustSet("new", "4")
	request.MustRemove("removed")
	want(t, k, "a", "map[changed:1 kept:0 removed:2]") // nothing is written before the close
	slides := k.Slides()
	if err := request.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, k, "a", "map[changed:3 kept:0 new:4]")
	if k.Slides() == slides {
		t.Error("the close of a changed session didn't set its expiry")
	}

	slides = k.Slides()
	reader := manager(s).New(ctx, "a")
	reader.MustGet("kept")
	if err := reader.Close(); err != nil || k.Slides() == slides {
		t.Errorf("a request that only reads didn't slide the expiry: %v", err)
	}
}

func TestARemovedSessionIsNotBroughtBack(t *testing.T) {
	ctx := context.Background()
	k := teststore.NewKeys(map[string]map[string]any{"a": {"user": "one"}})
	s := snapshots.New(k)
	request := manager(s).New(ctx, "a")
	request.MustSet("late", "x")
	if err := k.RemoveAll(ctx, "a"); err != nil { // as another process does
		t.Fatal(err)
	}
	if err := request.Close(); !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("the close returns %v, want ErrRevoked", err)
	}
	want(t, k, "a", "map[]")
}

// A store that keeps whole sessions has nothing to be cured of.
func TestASnapshotStoreIsPassedThrough(t *testing.T) {
	ctx := context.Background()
	s := snapshots.New(gsession.NewStorageMemory())
	request := manager(s).New(ctx, "a")
	request.MustSet("k", map[string]any{"nested": 1})
	if err := request.Close(); err != nil {
		t.Fatal(err)
	}
	if got := manager(s).New(ctx, "a").MustGet("k").Map()["nested"]; got != 1 {
		t.Errorf("got %v, want 1", got)
	}
}

// A change that is repeated writes only the keys that are as its request had seen them.
func TestARepeatedChangeLeavesNewerKeys(t *testing.T) {
	ctx := context.Background()
	k := teststore.NewKeys(map[string]map[string]any{"a": {"seed": "0", "n": "0", "gone": "0"}})
	s := snapshots.New(k)
	read, err := s.Load(ctx, "a", ttl)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := tiers.Diff(read.Snapshot, map[string]any{"seed": "0", "n": "1", "mine": 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SetMap(ctx, "a", map[string]any{"n": "9"}, ttl); err != nil { // another node
		t.Fatal(err)
	}
	again := delta.Conditional(read.Snapshot)
	if _, err := s.Commit(ctx, "a", again, ttl); !errors.Is(err, tiers.ErrConflict) {
		t.Errorf("a key is left out, and Commit returns %v", err)
	}
	want(t, k, "a", "map[mine:2 n:9 seed:0]")
	if err := k.SetMap(ctx, "a", map[string]any{"n": "1"}, ttl); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, "a", again, ttl); err != nil {
		t.Errorf("what is done already returns %v", err)
	}
}

// halfway is a direct store that refuses to remove a key, and says that this changed nothing.
type halfway struct{ *teststore.Keys }

func (halfway) Remove(context.Context, string, string) error {
	return tiers.NotApplied(errors.New("refused"))
}

// A commit of which the keys were written and the removals refused may have been applied: it is repeated only
// where the store holds what its request had seen.
func TestAHalfAppliedCommitMayBeApplied(t *testing.T) {
	ctx := context.Background()
	s := snapshots.New(halfway{teststore.NewKeys(map[string]map[string]any{"a": {"n": "0", "gone": "0"}})})
	read, err := s.Load(ctx, "a", ttl)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := tiers.Diff(read.Snapshot, map[string]any{"n": "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, "a", delta, ttl); err == nil || !tiers.MayBeApplied(err) {
		t.Errorf("a commit that was applied by half returns %v, and may be applied: %t", err, tiers.MayBeApplied(err))
	}
}

// A commit whose keys are in the store may lack its expiry: repeated, it sets that. A session without one would never end.
func TestARepeatedCommitSetsTheExpiry(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	client := server.Client()
	table := gsession.NewStorageRedisHashTable(server.GoFrame(t))
	s := snapshots.New(table)
	for n, value := range []any{"1", 1, true, []byte("1"), []any{1}, map[string]any{"nested": 1}, time.Now()} {
		id := fmt.Sprint("id", n)
		delta, err := tiers.Add(map[string]any{"user": "ann", "value": value})
		if err != nil {
			t.Fatal(err)
		}
		if err := table.SetMap(ctx, id, delta.Set(), ttl); err != nil { // as far as the first attempt came
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, id, delta.Conditional(nil), ttl); err != nil && !errors.Is(err, tiers.ErrConflict) {
			t.Errorf("%T: the repeated commit returns %v", value, err)
		}
		if left := client.TTL(ctx, id).Val(); left <= 0 {
			t.Errorf("%T: the session has no expiry", value)
		}
	}
}
