package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A batch does for each session what its commit alone would: merges, replacements,
// slides, refusals and bad values side by side, also when another node wrote first.
func TestCommitAllIsEachCommit(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	s := redisstore.New(server.Client(), redisstore.Prefix("batch:"))
	snapshot := func(id string) *tiers.Snapshot {
		t.Helper()
		read, err := s.Load(ctx, id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return read.Snapshot
	}
	whole := func(value any) *tiers.Delta {
		d, err := tiers.Replace(map[string]any{"k": value})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, id := range []string{"merged", "lost", "slid", "gone"} {
		if _, err := s.Commit(ctx, id, whole("old"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	change := func(id string) *tiers.Delta {
		base := snapshot(id)
		data := base.Map()
		data["mine"] = id
		d, err := tiers.Diff(base, data)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := snapshot("slid")
	slide, err := tiers.Diff(base, base.Map())
	if err != nil {
		t.Fatal(err)
	}
	commits := []tiers.Commit{
		{ID: "merged", Delta: change("merged"), TTL: time.Hour},
		{ID: "lost", Delta: change("lost"), TTL: time.Hour},
		{ID: "slid", Delta: slide, TTL: time.Hour},
		{ID: "gone", Delta: change("gone"), TTL: time.Hour},
		{ID: "new", Delta: whole("OK"), TTL: time.Hour},
		{ID: "nan", Delta: whole(math.NaN()), TTL: time.Hour},
		{ID: "ttl", Delta: whole("x"), TTL: 0},
		{ID: strings.Repeat("long", 1<<15), Delta: whole("x"), TTL: time.Hour},
	}
	// Another node comes first, twice.
	if err := server.Client().Set(ctx, "batch:lost", `{"k":"theirs"}`, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveAll(ctx, "gone"); err != nil {
		t.Fatal(err)
	}

	for round := range 2 { // the script isn't on the server at first
		results := s.CommitAll(ctx, commits)
		for n, want := range []string{"", "", "", "revoked", "", "error", "error", "error"} {
			switch err := results[n].Err; {
			case want == "" && err != nil, want == "error" && (err == nil || errors.Is(err, tiers.ErrRevoked)), want == "revoked" && !errors.Is(err, tiers.ErrRevoked):
				t.Errorf("round %d, commit %d: %v", round, n, err)
			}
		}
		for id, want := range map[string]string{
			"merged": `map[k:old mine:merged]`, "lost": `map[k:theirs mine:lost]`, "slid": `map[k:old]`, "new": `map[k:OK]`,
		} {
			got := snapshot(id)
			if got == nil || fmt.Sprint(got.Map()) != want {
				t.Errorf("round %d: a session isn't what its commit alone would make it", round)
				continue
			}
			if at, known := got.Expires(); !known || time.Until(at) < 59*time.Minute {
				t.Errorf("round %d: a session expires in %v, want an hour", round, time.Until(at))
			}
		}
		if snapshot("gone") != nil {
			t.Error("a removed session is back")
		}
		for n := range 2 {
			if got := results[n].Snapshot; got == nil || fmt.Sprint(got.Map()) != fmt.Sprint(snapshot(commits[n].ID).Map()) {
				t.Errorf("the reply of commit %d isn't what a read returns", n)
			}
		}
	}
}

func TestCommitAllWithoutAServer(t *testing.T) {
	server := redistest.Start(t)
	s := redisstore.New(server.Client())
	server.Stop()
	d, err := tiers.Replace(map[string]any{"k": 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range s.CommitAll(context.Background(), []tiers.Commit{{ID: "a", Delta: d, TTL: time.Hour}, {ID: "b", Delta: d, TTL: time.Hour}}) {
		if result.Err == nil {
			t.Error("a commit succeeded without a server")
		}
	}
}
