package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// GoFrame's goroutines, which start when it is imported, run before the tests and after them.
func TestMain(m *testing.M) { leaktest.Main(m) }

const ttl = time.Hour

var ctx = context.Background()

// bubble runs a test in its own time and closes what it made.
func bubble(t *testing.T, s tiers.Storage, test func(t *testing.T, c *coalesce.Storage), opts ...coalesce.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(s, opts...)
		test(t, c)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// change is what a request does that was given base, and sets one key.
func change(t *testing.T, base *tiers.Snapshot, key string, value any) *tiers.Delta {
	t.Helper()
	data := base.Map()
	data[key] = value
	delta, err := tiers.Diff(base, data)
	if err != nil {
		t.Fatal(err)
	}
	return delta
}

func get(t *testing.T, c *coalesce.Storage, id string) *tiers.Snapshot {
	t.Helper()
	read, err := c.Load(ctx, id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return read.Snapshot
}

// add commits what a request sets that found no session.
func add(ctx context.Context, c *coalesce.Storage, id string, value any) error {
	delta, err := tiers.Add(map[string]any{"k": value})
	if err == nil {
		_, err = c.Commit(ctx, id, delta, ttl)
	}
	return err
}

// The figures of the promise: 64 requests at once, each changing a key of its own a
// hundred times, on a store that takes 2 ms for a write.
func TestManyWritersOfOneSession(t *testing.T) {
	s := teststore.New()
	s.OnCommit = func(context.Context, string) error { time.Sleep(2 * time.Millisecond); return nil }
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"seed": 0}, ttl)
		var group sync.WaitGroup
		for writer := range 64 {
			group.Go(func() {
				for n := range 100 {
					base := get(t, c, "a")
					if _, err := c.Commit(ctx, "a", change(t, base, fmt.Sprint(writer), n+1), ttl); err != nil {
						t.Error(err)
						return
					}
					if got := get(t, c, "a").Get(fmt.Sprint(writer)); got != n+1 {
						t.Errorf("read %v after writing %d", got, n+1)
						return
					}
				}
			})
		}
		group.Wait()
		final := get(t, c, "a")
		for writer := range 64 {
			if got := final.Get(fmt.Sprint(writer)); got != 100 {
				t.Errorf("writer %d's key holds %v, want 100", writer, got)
			}
		}
		if _, commits, _ := s.Count(); commits > 6400/16 {
			t.Errorf("%d commits reached the store for 6,400 changes, want a sixteenth at most", commits)
		}
	})
}

func TestSessionsDoNotWaitForEachOther(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		hold := make(chan struct{})
		s.OnCommit = func(_ context.Context, id string) error {
			if id == "slow" {
				<-hold
			}
			return nil
		}
		slow := make(chan error)
		go func() { slow <- replace(t, c, "slow", 1) }()
		synctest.Wait()
		if err := replace(t, c, "quick", 1); err != nil {
			t.Error(err)
		}
		close(hold)
		if err := <-slow; err != nil {
			t.Error(err)
		}
	})
}

func replace(t *testing.T, c *coalesce.Storage, id string, value any) error {
	t.Helper()
	delta, err := tiers.Replace(map[string]any{"k": value})
	if err != nil {
		t.Error(err)
		return err
	}
	_, err = c.Commit(ctx, id, delta, ttl)
	return err
}

func TestCancellationEndsTheWaitingOnly(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.Put("a", map[string]any{"k": 0}, ttl)
		s.OnCommit = func(ctx context.Context, _ string) error { <-release; return ctx.Err() }
		first := make(chan error)
		go func() { first <- replace(t, c, "a", 1) }()
		synctest.Wait()

		base := get(t, c, "a")
		impatient, cancel := context.WithCancel(ctx)
		waiting := make(chan error)
		go func() {
			_, err := c.Commit(impatient, "a", change(t, base, "mine", 2), ttl)
			waiting <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := c.Flush(ctx); err != nil {
			t.Error(err)
		}
		if got := get(t, c, "a").Get("mine"); got != 2 {
			t.Errorf("the change of a cancelled request is %v in the store, want 2", got)
		}
	})
}

// A client that goes away must not lose what its request has changed, nor its log-out.
func TestACancelledCallerStillWrites(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		base := get(t, c, "a")
		gone, cancel := context.WithCancel(ctx)
		cancel()
		s.OnCommit = func(context.Context, string) error { time.Sleep(time.Second); return nil }
		if _, err := c.Commit(gone, "a", change(t, base, "mine", 1), ttl); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		// Readers find it from now on, though the store takes its time.
		if got := get(t, c, "a").Get("mine"); got != 1 {
			t.Errorf("the change of a client that went away is %v, want 1", got)
		}
		if err := c.RemoveAll(gone, "a"); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		if get(t, c, "a") != nil {
			t.Error("the log-out of a client that went away got lost")
		}
	})
}

func TestAHungStoreTimesOut(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.OnCommit = func(context.Context, string) error { <-release; return nil } // heeds no context
		began := time.Now()
		if err := replace(t, c, "a", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want context.DeadlineExceeded", err)
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %v, want 1 s", waited)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Flush(short); err == nil || !strings.Contains(err.Error(), "1 changes") {
			t.Errorf("Flush returned %v, want the number of changes that wait", err)
		}
		close(release)
	}, writeTimeout(time.Second))
}

// A log-out is next, whatever waits, and what waits is of a session that is gone.
func TestRemoveAllAnnulsWhatWaits(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.Put("a", map[string]any{"user": 1}, ttl)
		base := get(t, c, "a")
		s.OnCommit = func(context.Context, string) error { <-release; return nil }
		outcomes := make([]error, 3)
		var group sync.WaitGroup
		for n := range outcomes {
			group.Go(func() { _, outcomes[n] = c.Commit(ctx, "a", change(t, base, fmt.Sprint(n), n), ttl) })
			synctest.Wait()
		}
		removed := make(chan error)
		go func() { removed <- c.RemoveAll(ctx, "a") }()
		synctest.Wait()
		select {
		case <-removed:
			t.Error("RemoveAll returned while a commit that may bring the session back was under way")
		default:
		}
		close(release)
		if err := <-removed; err != nil {
			t.Error(err)
		}
		group.Wait()
		if outcomes[0] != nil {
			t.Errorf("the commit under way returned %v", outcomes[0])
		}
		for _, err := range outcomes[1:] {
			if !errors.Is(err, tiers.ErrRevoked) {
				t.Errorf("a change that waited returned %v, want ErrRevoked", err)
			}
		}
		if get(t, c, "a") != nil {
			t.Error("the session is back")
		}
		if _, commits, _ := s.Count(); commits != 1 {
			t.Errorf("%d commits reached the store, want 1", commits)
		}
	})
}

func TestRemovalsThatWaitAreOne(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.OnCommit = func(context.Context, string) error { <-release; return nil }
		go replace(t, c, "a", 1)
		synctest.Wait()
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				if err := c.RemoveAll(ctx, "a"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		group.Wait()
		if get(t, c, "a") != nil {
			t.Error("the session is back")
		}
	})
}

// A change that comes between two removals is annulled by the second, which is one with the first.
func TestAChangeBetweenTwoRemovalsIsAnnulled(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.OnCommit = func(context.Context, string) error { <-release; return nil }
		go replace(t, c, "a", 1)
		synctest.Wait()
		var first, between, second error
		var group sync.WaitGroup
		group.Go(func() { first = c.RemoveAll(ctx, "a") })
		synctest.Wait()
		group.Go(func() { between = replace(t, c, "a", 2) })
		synctest.Wait()
		group.Go(func() { second = c.RemoveAll(ctx, "a") })
		synctest.Wait()
		close(release)
		group.Wait()
		if first != nil || second != nil || !errors.Is(between, tiers.ErrRevoked) {
			t.Errorf("the removals returned %v and %v, the change between %v, want ErrRevoked", first, second, between)
		}
		if get(t, c, "a") != nil {
			t.Error("the session is back")
		}
	})
}

// Changes whose outcomes could differ aren't merged: each caller gets its own.
func TestEachCallerGetsTheOutcomeOfItsOwnChange(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		release := make(chan struct{})
		s.Put("a", map[string]any{"user": 1}, ttl)
		base := get(t, c, "a")
		s.OnCommit = func(context.Context, string) error { <-release; return nil }
		go replace(t, c, "a", 0)
		synctest.Wait()
		s.Drop("a") // as another node's log-out does

		var refused, added error
		var group sync.WaitGroup
		group.Go(func() { _, refused = c.Commit(ctx, "a", change(t, base, "x", 1), ttl) })
		synctest.Wait()
		group.Go(func() {
			delta, _ := tiers.Add(map[string]any{"y": 2})
			_, added = c.Commit(ctx, "a", delta, ttl)
		})
		synctest.Wait()
		close(release)
		group.Wait()
		if !errors.Is(refused, tiers.ErrRevoked) {
			t.Errorf("a change of the removed session returned %v, want ErrRevoked", refused)
		}
		if got := get(t, c, "a"); added != nil || got == nil || got.Get("y") != 2 || got.Len() != 1 {
			t.Errorf("a new session: %v, %v", got, added)
		}
	})
}

func TestAPanicOfTheStoreIsTheCallers(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.OnCommit = func(context.Context, string) error { panic("store") }
		func() {
			defer func() {
				if recover() != "store" {
					t.Error("the panic didn't reach the caller")
				}
			}()
			replace(t, c, "a", 1)
		}()
		s.OnCommit = nil
		if err := replace(t, c, "a", 2); err != nil {
			t.Error(err)
		}
	})
}

// A store that ends the goroutine of a write, as a mock does with t.FailNow, fails that
// write, and holds up no other.
func TestAStoreThatEndsTheGoroutine(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		began := time.Now()
		write := func(id string) (took time.Duration, err error) {
			delta, err := tiers.Replace(map[string]any{"k": 1})
			if err == nil {
				_, err = c.Commit(ctx, id, delta, 0) // without a ttl nothing is pending
			}
			return time.Since(began), err
		}
		s.OnCommit = func(context.Context, string) error {
			runtime.Goexit()
			return nil
		}
		for n := range 20 { // more than there are workers
			if took, err := write("a"); err == nil || took > 0 {
				t.Errorf("write %d returned %v after %v", n, err, took)
				return
			}
		}
		s.OnCommit = nil
		for _, id := range []string{"a", "b"} {
			if took, err := write(id); err != nil || took > 0 {
				t.Errorf("returned %v after %v", err, took)
			}
		}
	}, writeBehind(time.Hour))
}

func TestCloseWaitsAndLaterCallsGoThrough(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(s)
		release := make(chan struct{})
		s.OnCommit = func(context.Context, string) error { <-release; return nil }
		go replace(t, c, "a", 1)
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- c.Close(ctx) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while a commit was under way")
		default:
		}
		close(release)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := replace(t, c, "a", 2); err != nil || get(t, c, "a").Get("k") != 2 {
			t.Errorf("a write after Close: %v", err)
		}
		if err := c.RemoveAll(ctx, "a"); err != nil || get(t, c, "a") != nil {
			t.Errorf("a removal after Close: %v", err)
		}
	})
}
