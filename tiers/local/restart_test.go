package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// batched is a store that reads several sessions together. mu guards the sizes of what was read;
// hang is closed when reads may go on, nil if they always may.
type batched struct {
	*teststore.Store
	hang chan struct{}

	mu    sync.Mutex
	sizes []int
}

func (b *batched) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	b.mu.Lock()
	b.sizes = append(b.sizes, len(loads))
	b.mu.Unlock()
	results := make([]tiers.Reloaded, len(loads))
	if b.hang != nil {
		select {
		case <-b.hang:
		case <-ctx.Done():
			for n := range results {
				results[n].Err = ctx.Err()
			}
			return results
		}
	}
	for n, l := range loads {
		results[n].Read, results[n].Err = b.Load(ctx, l.ID, l.TTL)
	}
	return results
}

// saved is a file that a process has left which held some sessions.
func saved(t *testing.T, s *teststore.Store, sessions int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sessions.warm")
	synctest.Test(t, func(t *testing.T) {
		from := &source{}
		l := local.New(&batched{Store: s}, local.Invalidation(from), local.WarmRestart(path))
		from.confirm(ttl)
		for n := range sessions {
			s.Put(fmt.Sprint("session", n), map[string]any{"k": "secret", "n": n}, ttl)
			load(t, l, fmt.Sprint("session", n))
		}
		synctest.Wait()
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
	})
	return path
}

// The sessions of a process are in memory when the next one has started, read in a few batches: as the
// store has them by then, without those that were logged out meanwhile.
func TestSessionsAreInMemoryAfterAWarmRestart(t *testing.T) {
	const sessions = 3000 // some of them packed
	s := teststore.New()
	path := saved(t, s, sessions)
	content, err := os.ReadFile(path)
	if info, _ := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(content, []byte("secret")) {
		t.Fatalf("the file is readable by others, or holds a session's data: %v, %v", info.Mode(), err)
	}
	synctest.Test(t, func(t *testing.T) {
		s.Put("session1", map[string]any{"n": "changed"}, ttl)
		if err := s.RemoveAll(ctx, "session2"); err != nil {
			t.Fatal(err)
		}
		for n := range sessions {
			if n > 2 {
				s.Put(fmt.Sprint("session", n), map[string]any{"n": n}, ttl) // the bubble has a clock of its own
			}
		}
		b, from := &batched{Store: s}, &source{}
		l := local.New(b, local.Invalidation(from), local.WarmRestart(path))
		defer l.Close(ctx)
		time.Sleep(time.Second)
		if len(b.sizes) > 0 {
			t.Error("sessions are read before the source notifies of changes")
		}
		from.confirm(ttl)
		time.Sleep(time.Second)
		synctest.Wait()
		read := 0
		for _, size := range b.sizes {
			read += size
		}
		if read != sessions || len(b.sizes) > sessions/1000+1 {
			t.Errorf("%d sessions read in batches of %v, want %d in few", read, b.sizes, sessions)
		}
		before, _, _ := s.Count()
		want(t, load(t, l, "session1"), tiers.OutcomeHit, "n", "changed")
		for n := range sessions {
			if n > 2 {
				want(t, load(t, l, fmt.Sprint("session", n)), tiers.OutcomeHit, "n", n)
				synctest.Wait() // ristretto has got the one that it has pushed out
			}
		}
		if after, _, _ := s.Count(); after != before {
			t.Errorf("%d requests were for the store", after-before)
		}
		if read := load(t, l, "session2"); read.Snapshot != nil {
			t.Error("a session is served that was logged out while the node was down")
		}
	})
}

// A server that is slow when it is first asked is taken for one that can't notify, until it does.
func TestAWarmRestartWaitsForASourceThatIsUnsupportedAtFirst(t *testing.T) {
	s := teststore.New()
	path := saved(t, s, 1)
	synctest.Test(t, func(t *testing.T) {
		s.Put("session0", map[string]any{"n": 0}, ttl)
		b, from := &batched{Store: s}, &source{}
		l := local.New(b, local.Invalidation(from), local.WarmRestart(path))
		defer l.Close(ctx)
		from.receiver().Unsupported(errors.New("slow"))
		time.Sleep(time.Second)
		if len(b.sizes) > 0 {
			t.Error("sessions are read before the source notifies of changes")
		}
		from.confirm(ttl)
		time.Sleep(time.Second)
		want(t, load(t, l, "session0"), tiers.OutcomeHit, "n", 0)
	})
}

// Until a session has been read, a request for it asks the store; Close waits for no store, and
// what wasn't read is saved again.
func TestAWarmRestartHoldsNothingUp(t *testing.T) {
	s := teststore.New()
	path := saved(t, s, 2500)
	synctest.Test(t, func(t *testing.T) {
		s.Put("session1", map[string]any{"n": "later"}, ttl)
		b, from := &batched{Store: s, hang: make(chan struct{})}, &source{}
		l := local.New(b, local.Invalidation(from), local.WarmRestart(path))
		from.confirm(ttl)
		synctest.Wait()
		if len(b.sizes) != 1 {
			t.Fatalf("batches %v are under way, want one", b.sizes)
		}
		want(t, load(t, l, "session1"), tiers.OutcomeMiss, "n", "later")
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if ids, err := local.Saved(path); err != nil || len(ids) != 2500 {
		t.Errorf("%d sessions of 2500 were saved again (%v)", len(ids), err)
	}
}

// An own write is in memory until it has been read again, and so it is for the next process if the
// tier is closed meanwhile.
func TestAnOwnWriteThatIsReadAgainAtCloseIsInMemoryAfterAWarmRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.warm")
	synctest.Test(t, func(t *testing.T) {
		b, from := &batched{Store: teststore.New(), hang: make(chan struct{})}, &source{}
		l := local.New(b, local.Invalidation(from), local.WarmRestart(path))
		from.confirm(ttl)
		commit(t, l, "a", map[string]any{"k": 1})
		from.receiver().Invalidate("a")
		synctest.Wait()
		if len(b.sizes) != 1 {
			t.Fatalf("batches %v are under way, want one", b.sizes)
		}
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if ids, err := local.Saved(path); err != nil || len(ids) != 1 || ids[0] != "a" {
		t.Errorf("saved are %q, %v", ids, err)
	}
}

// A change of a session while it is read ahead isn't covered by what was read.
func TestAReadAheadOfARestartIsOrderedLikeAnyOther(t *testing.T) {
	s := teststore.New()
	path := saved(t, s, 1)
	synctest.Test(t, func(t *testing.T) {
		s.Put("session0", map[string]any{"n": 1}, ttl)
		b, from := &batched{Store: s}, &source{}
		s.OnLoad = func(_ context.Context, id string) {
			s.OnLoad = nil
			from.receiver().Invalidate(id)
		}
		l := local.New(b, local.Invalidation(from), local.WarmRestart(path))
		defer l.Close(ctx)
		from.confirm(ttl)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(b.sizes) != 1 {
			t.Fatalf("read in batches of %v", b.sizes)
		}
		s.Put("session0", map[string]any{"n": 2}, ttl)
		want(t, load(t, l, "session0"), tiers.OutcomeMiss, "n", 2)
	})
}

// A file that is damaged anywhere, cut short or too large is ignored, and said so once.
func TestADamagedFileOfARestartIsIgnored(t *testing.T) {
	path := saved(t, teststore.New(), 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"too large": append(bytes.Clone(whole), make([]byte, 2<<20)...), "foreign": []byte("hello"), "of the mark alone": whole[:20]}
	for n := range whole {
		damaged := bytes.Clone(whole)
		damaged[n] ^= 1
		files[fmt.Sprint("damaged at ", n)] = damaged
		if n > 0 {
			files[fmt.Sprint("cut at ", n)] = whole[:n]
		}
	}
	for name, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var log teststore.Log
		config := telemetry.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		synctest.Test(t, func(t *testing.T) {
			b, from := &batched{Store: teststore.New()}, &source{}
			l := local.New(b, local.Invalidation(from), local.WarmRestart(path), local.MaxBytes(1<<20))
			l.Report(config.Sink())
			from.confirm(ttl)
			time.Sleep(2 * time.Second)
			_ = l.Close(ctx)
			synctest.Wait()
			if lines := strings.Count(log.String(), "is ignored"); lines != 1 || len(b.sizes) > 0 || strings.Contains(log.String(), "session0") {
				t.Errorf("%s: %d batches were read, and logged is %q", name, len(b.sizes), log.String())
			}
		})
	}
}

// If the file can't be written, Close returns an error and does all else: an earlier file stays, and so
// does a file of another program.
func TestARestartThatCannotBeSavedIsAnErrorOfClose(t *testing.T) {
	s := teststore.New()
	earlier := saved(t, s, 3)
	was, err := os.ReadFile(earlier)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(earlier+".new", "full"), 0o700); err != nil { // nothing can be written beside it
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(foreign, []byte("a user's notes"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"no folder": filepath.Join(t.TempDir(), "none", "sessions.warm"), "a folder": t.TempDir(), "in the way": earlier, "foreign": foreign,
	} {
		synctest.Test(t, func(t *testing.T) {
			from := &source{}
			l := local.New(&batched{Store: s}, local.Invalidation(from), local.WarmRestart(path))
			from.confirm(ttl)
			s.Put("a", map[string]any{"k": 1}, ttl)
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
			want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
			err := l.Close(ctx)
			if err == nil || !strings.Contains(err.Error(), "WarmRestart") || strings.Contains(err.Error(), path) {
				t.Errorf("%s: Close returned %v", name, err)
			}
			want(t, load(t, l, "a"), tiers.OutcomeStore, "k", 1)
		})
	}
	for path, want := range map[string]string{earlier: string(was), foreign: "a user's notes"} {
		if content, err := os.ReadFile(path); err != nil || string(content) != want {
			t.Errorf("a file was lost: %v", err)
		}
	}
}

// Over a store that reads sessions one by one, or without invalidations, nothing is read ahead.
func TestAWarmRestartWithoutUseReadsNothing(t *testing.T) {
	s := teststore.New()
	path := saved(t, s, 3)
	before, _, _ := s.Count()
	synctest.Test(t, func(t *testing.T) {
		from := &source{}
		one := local.New(s, local.Invalidation(from), local.WarmRestart(path))
		from.confirm(ttl)
		b := &batched{Store: s}
		quiet := local.New(b, local.WarmRestart(path))
		time.Sleep(time.Second)
		synctest.Wait()
		if after, _, _ := s.Count(); after != before || len(b.sizes) > 0 {
			t.Errorf("%d loads and %d batches, want none", after-before, len(b.sizes))
		}
		for _, l := range []*local.Storage{one, quiet} {
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	})
}
