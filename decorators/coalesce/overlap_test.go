package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// sliding calls a function when a slide has been applied, or in place of it.
type sliding struct {
	*batching
	slid    func(id string)
	instead func(ctx context.Context) error
	load    func(ctx context.Context, id string) error
}

func newSliding() *sliding { return &sliding{batching: &batching{Store: teststore.New()}} }

func (s *sliding) Slide(ctx context.Context, id string, life time.Duration) (time.Time, error) {
	if s.instead != nil {
		return time.Time{}, s.instead(ctx)
	}
	until, err := s.Store.Slide(ctx, id, life)
	if s.slid != nil {
		s.slid(id)
	}
	return until, err
}

func (s *sliding) Load(ctx context.Context, id string, life time.Duration) (tiers.Read, error) {
	if s.load != nil {
		if err := s.load(ctx, id); err != nil {
			return tiers.Read{}, err
		}
	}
	return s.Store.Load(ctx, id, life)
}

// batchReader takes batches, and reads several sessions at once. reads is for one goroutine.
type batchReader struct {
	*batching
	reads int
}

func (r *batchReader) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	r.reads++
	results := make([]tiers.Reloaded, len(loads))
	for n, l := range loads {
		results[n].Read, results[n].Err = r.Load(ctx, l.ID, l.TTL)
	}
	return results
}

// A slide whose reply comes after a commit, or after a removal, doesn't say what the store has now.
func TestASlideThatIsOvertaken(t *testing.T) {
	for name, overtake := range map[string]func(t *testing.T, s *sliding, c *coalesce.Storage){
		"by a commit that wanted less": func(t *testing.T, s *sliding, c *coalesce.Storage) {
			s.Refuse(nil)
			time.Sleep(5 * time.Second)
			synctest.Wait()
		},
		"by a removal": func(t *testing.T, s *sliding, c *coalesce.Storage) {
			s.Refuse(nil)
			must(t, c.RemoveAll(ctx, "a"))
			s.Put("a", map[string]any{"k": 2}, time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSliding()
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				s.Put("a", map[string]any{"k": 0}, ttl)
				s.Refuse(func(string) error { return errAway })
				put(t, c, "a", "k", 1)
				time.Sleep(ttl * 9 / 100)
				s.slid = func(string) { s.slid = nil; overtake(t, s, c) }
				must(t, c.UpdateTTL(ctx, "a", ttl))
				time.Sleep(10 * time.Second)
				must(t, c.UpdateTTL(ctx, "a", ttl))
				if left := time.Until(s.Expires("a")); left < ttl {
					t.Errorf("a session in use has %v left", left)
				}
				time.Sleep(ttl * 9 / 100)
				must(t, c.UpdateTTL(ctx, "a", ttl))
				if left := time.Until(s.Expires("a")); left < ttl {
					t.Errorf("a session in use has %v left", left)
				}
			}, writeBehind(time.Second))
		})
	}
}

// While the reply of a commit is on its way, a slide is skipped because of an expiry that the commit has replaced.
func TestASlideThatIsSkippedWhileACommitIsAtTheStore(t *testing.T) {
	s := newSliding()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		released := make(chan struct{})
		s.OnCommit = func(context.Context, string) error {
			s.Refuse(func(string) error { return errAway })
			<-released
			return nil
		}
		s.Put("a", map[string]any{"k": 0}, ttl)
		base := get(t, c, "a")
		_, err := c.Commit(ctx, "a", change(t, base, "k", 1), ttl)
		time.Sleep(ttl / 25)
		must(t, err, c.UpdateTTL(ctx, "a", ttl))
		time.Sleep(ttl / 25)
		_, err = c.Commit(ctx, "a", change(t, base, "k", 2), ttl)
		time.Sleep(ttl / 20)
		must(t, err, c.UpdateTTL(ctx, "a", ttl))
		used := time.Now()
		close(released)
		synctest.Wait()
		if early := used.Add(ttl).Sub(s.Expires("a")); early > 0 {
			t.Errorf("a session in use expires %v early", early)
		}
		s.Refuse(nil)
	}, writeBehind(ttl/20))
}

// A session that another request has emptied while it was slid is closed by a write, which finds out.
func TestASlideDoesNotHideThatTheSessionMayBeGone(t *testing.T) {
	s := newSliding()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		base := get(t, c, "a")
		emptied, err := tiers.Diff(base, map[string]any{})
		must(t, err)
		time.Sleep(time.Minute)
		s.slid = func(string) {
			_, err := c.Commit(ctx, "a", emptied, ttl)
			must(t, err)
		}
		must(t, c.UpdateTTL(ctx, "a", ttl))
		unchanged, err := tiers.Diff(base, base.Map())
		must(t, err)
		if _, err := c.Commit(ctx, "a", unchanged, ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("an unchanged close of an emptied session returned %v, want ErrRevoked", err)
		}
	})
}

// Late commits that go together are brought to a store that is far away, or that can't be read.
func TestLateCommitsAtAStoreThatIsSlowToRead(t *testing.T) {
	for name, load := range map[string]func(context.Context, string) error{
		"far away": func(ctx context.Context, _ string) error { time.Sleep(50 * time.Millisecond); return ctx.Err() },
		"hangs":    func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
		"panics for one": func(_ context.Context, id string) error {
			if id == "0" {
				panic("of the store")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSliding()
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				var late atomic.Bool
				s.load = func(ctx context.Context, id string) error {
					if !late.Load() {
						return nil
					}
					return load(ctx, id)
				}
				for n := range 128 {
					s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
					put(t, c, fmt.Sprint(n), "k", 1)
				}
				late.Store(true)
				time.Sleep(ttl/5 + 6*time.Second)
				if changes, _, _ := c.Pending(); changes > 0 {
					t.Errorf("%d changes wait after the timeout of a write", changes)
				}
			}, writeBehind(ttl/5))
		})
	}
}

// The slide that follows a commit is waited for by its own session alone.
func TestNobodyWaitsForTheSlideOfAnother(t *testing.T) {
	s := newSliding()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		released := make(chan struct{})
		s.OnCommit = func(context.Context, string) error { <-released; return nil }
		for n := range 20 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
		}
		for n := range 20 {
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		time.Sleep(ttl / 5)
		synctest.Wait() // all are at the store
		for n := range 19 {
			must(t, c.UpdateTTL(ctx, fmt.Sprint(n), ttl))
		}
		s.instead = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		close(released)
		synctest.Wait()
		if changes, _, _ := c.Pending(); changes > 19 {
			t.Errorf("%d changes are pending", changes)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if changes, _, _ := c.Pending(); changes > 0 {
			t.Errorf("%d changes are pending after the timeout of a write", changes)
		}
	}, writeBehind(ttl/5))
}

// Where the store stands, neither a read nor a slide goes with a commit that is written behind.
func TestAnOrdinaryCommitIsOneCall(t *testing.T) {
	s := newSliding()
	s.delay = 30 * time.Millisecond
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		const ttl = ttl / 2
		s.Put("a", map[string]any{"k": 0}, ttl)
		base := get(t, c, "a")
		for n := range 600 * 50 { // for ten minutes, also while commits are at the store
			_, err := c.Commit(ctx, "a", change(t, base, "k", n), ttl)
			must(t, err, c.UpdateTTL(ctx, "a", ttl))
			time.Sleep(20 * time.Millisecond)
		}
		if loads, commits, slides := s.Count(); loads > 1 || commits > 601 || slides > 1 {
			t.Errorf("%d loads, %d commits, %d slides in ten minutes", loads, commits, slides)
		}
	}, writeBehind(time.Second))
}

// Late commits that go together need one read, if the store takes such.
func TestLateCommitsAreReadTogether(t *testing.T) {
	s := &batchReader{batching: &batching{Store: teststore.New()}}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 100 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		time.Sleep(ttl/5 - time.Second)
		other := coalesce.New(s)
		defer other.Close(ctx)
		must(t, other.UpdateTTL(ctx, "7", ttl))
		used := time.Now()
		must(t, c.Flush(ctx))
		if reads := s.reads; reads != 1 {
			t.Errorf("%d reads", reads)
		}
		if early := used.Add(ttl).Sub(s.Expires("7")); early > 0 {
			t.Errorf("a session in use expires %v early", early)
		}
	}, writeBehind(ttl/5))
}

// A store that fails isn't asked by each request that changes a session which has expired there.
func TestAChangeOfASessionThatHasExpiredWaitsItsTurn(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		base := get(t, c, "a")
		var asked atomic.Int32
		s.Refuse(func(string) error { asked.Add(1); return errAway })
		for n := range 6000 {
			if n == 3600 {
				asked.Store(0)
			}
			_, err := c.Commit(ctx, "a", change(t, base, "k", n), ttl)
			must(t, err)
			time.Sleep(time.Second)
		}
		if asked := asked.Load(); asked > 2000 {
			t.Errorf("the store was asked %d times in 2,400 s, though a write that fails pauses for 1 to 2 s", asked)
		}
		s.Refuse(nil)
		s.Put("a", map[string]any{"k": 0}, ttl)
	}, writeBehind(time.Second))
}
