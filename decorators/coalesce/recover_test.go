package coalesce_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/journal"
)

// journaled opens a storage whose changes wait in its journal.
func journaled(t *testing.T, s tiers.Storage, dir string, opts ...coalesce.Option) *coalesce.Storage {
	t.Helper()
	c := coalesce.New(s, append(opts, coalesce.WriteBehind(time.Hour), coalesce.Journal(dir))...)
	t.Cleanup(func() {
		if store, ok := s.(*teststore.Store); ok {
			store.Refuse(nil)
		}
		_ = c.Close(ctx)
	})
	return c
}

// killed is the journal as it is on disk now: what a process finds that starts after
// this one was killed.
func killed(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "pending.db"))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "pending.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return other
}

// What was accepted is read by the next process, whatever the store holds by then.
func TestReplay(t *testing.T) {
	number := func(n string) any { return n }
	for name, test := range map[string]struct {
		meanwhile func(s *teststore.Store)
		want      map[string]any // nil: no session
		lost      error
	}{
		"nothing":                      {func(*teststore.Store) {}, map[string]any{"mine": "1", "also": "2", "seed": "0"}, nil},
		"another key":                  {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "gone": "0", "new": "9"}, ttl) }, map[string]any{"mine": "1", "also": "2", "seed": "0", "new": "9"}, nil},
		"the same key":                 {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "mine": "9"}, ttl) }, map[string]any{"mine": "9", "also": "2", "seed": "0"}, nil},
		"a key that was removed, anew": {func(s *teststore.Store) { s.Put("a", map[string]any{"seed": "0", "gone": "9"}, ttl) }, map[string]any{"mine": "1", "also": "2", "seed": "0", "gone": "9"}, nil},
		"a log-out":                    {func(s *teststore.Store) { s.Drop("a") }, nil, tiers.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := teststore.New(), t.TempDir()
			s.Put("a", map[string]any{"seed": number("0"), "gone": "0"}, ttl)
			first := journaled(t, s, dir)
			put(t, first, "a", "mine", "1")
			base := get(t, first, "a")
			data := base.Map()
			delete(data, "gone")
			data["also"] = "2"
			delta, err := tiers.Diff(base, data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := first.Commit(ctx, "a", delta, ttl); err != nil {
				t.Fatal(err)
			}
			if _, commits, _ := s.Count(); commits != 0 {
				t.Fatal("the change is in the store already")
			}
			test.meanwhile(s)

			lost := make(chan coalesce.GiveUp, 4)
			second := journaled(t, s, killed(t, dir), coalesce.OnGiveUp(func(g coalesce.GiveUp) { lost <- g }))
			got := get(t, second, "a")
			switch {
			case test.want == nil:
				if got != nil {
					t.Errorf("a session that was removed is back: %v", got.Map())
				}
				if g := <-lost; !errors.Is(g.Cause, test.lost) {
					t.Errorf("given up for %v, want %v", g.Cause, test.lost)
				}
			case got == nil || !got.Same(tiers.Adopt(test.want)):
				t.Errorf("the next process finds %v, want %v", got, test.want)
			}
		})
	}
}

func TestReplayOfANewSession(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Refuse(func(string) error { return errors.New("away") })
	first := journaled(t, s, dir)
	if err := replace(t, first, "whole", "1"); err != nil {
		t.Fatal(err)
	}
	delta, err := tiers.Add(map[string]any{"k": "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Commit(ctx, "added", delta, ttl); err != nil {
		t.Fatal(err)
	}
	left := killed(t, dir)
	s.Refuse(nil)
	second := journaled(t, s, left)
	for _, id := range []string{"whole", "added"} {
		if got := get(t, second, id); got == nil || got.Get("k") != "1" {
			t.Errorf("the %s session is %v", id, got)
		}
	}
}

// Once it has returned, nothing brings the session back, not even the next process.
func TestRemoveAllEmptiesTheJournal(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Refuse(func(id string) error { return errors.New("away") })
	c := journaled(t, s, dir)
	if err := replace(t, c, "a", "1"); err != nil {
		t.Fatal(err)
	}
	s.Refuse(nil)
	if err := c.RemoveAll(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, journaled(t, s, killed(t, dir)), "a"); got != nil {
		t.Errorf("the session is back: %v", got.Map())
	}
}

func TestWhatIsInTheStoreLeavesTheJournal(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, dir)
	put(t, c, "a", "k", "1")
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	left := killed(t, dir)
	s.Put("a", map[string]any{"k": "0"}, ttl) // another node sets it back
	if got := get(t, journaled(t, s, left), "a"); got.Get("k") != "0" {
		t.Error("a change that had been delivered was delivered again")
	}
}

func TestExpiredAndDamagedRecordsAreReported(t *testing.T) {
	delta, err := tiers.Add(map[string]any{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := coalesce.Record("a", delta, time.Now().Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j, _, _, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{expired, []byte("damaged")} {
		if _, synced := j.Append(content); <-synced != nil {
			t.Fatal("the journal can't be written")
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	causes := make(chan string, 3)
	s := teststore.New()
	c := journaled(t, s, dir, coalesce.OnGiveUp(func(g coalesce.GiveUp) { causes <- g.Cause.Error() }))
	if all := <-causes + <-causes; !strings.Contains(all, "expired") || !strings.Contains(all, "damaged") {
		t.Errorf("reported %q, want an expired and a damaged record", all)
	}
	if got := get(t, c, "a"); got != nil {
		t.Errorf("an expired change brought %v", got.Map())
	}
}

// A journal that can't be written is no reason to lose a change, nor to keep quiet: the
// request waits for the store.
func TestWithoutItsJournalAWriteIsSynchronous(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, t.TempDir())
	delta := change(t, get(t, c, "a"), "k", "1")
	coalesce.BreakJournal(c)
	if _, err := c.Commit(ctx, "a", delta, ttl); err != nil {
		t.Fatal(err)
	}
	if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("k") != "1" {
		t.Error("the change is neither in the journal nor in the store")
	}
	s.Refuse(func(string) error { return errors.New("away") })
	if _, err := c.Commit(ctx, "a", change(t, get(t, c, "a"), "k", "2"), ttl); err == nil {
		t.Error("a change that is nowhere was accepted")
	}
}

func TestAJournalInUsePanics(t *testing.T) {
	dir := t.TempDir()
	journaled(t, teststore.New(), dir)
	defer func() {
		if message, ok := recover().(string); !ok || !strings.Contains(message, "directory of its own") {
			t.Errorf("panic %q doesn't say what to do", message)
		}
	}()
	journaled(t, teststore.New(), dir)
}
