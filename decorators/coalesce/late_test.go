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

// late has a change of the session wait for a fifth of the ttl, after which its commit is at the store until release is called.
func late(t *testing.T, s *teststore.Store, c *coalesce.Storage) (release func(err error)) {
	t.Helper()
	s.Refuse(func(string) error { return errAway })
	put(t, c, "a", "k", 1)
	time.Sleep(ttl / 5)
	return hold(s)
}

// hold has the next commit wait at the store until release is called.
func hold(s *teststore.Store) (release func(err error)) {
	released := make(chan error)
	s.Refuse(func(string) error {
		s.Refuse(nil)
		return <-released
	})
	time.Sleep(5 * time.Second)
	synctest.Wait()
	return func(err error) { released <- err; synctest.Wait() }
}

// A commit sets the expiry that its request wanted, which is over sooner than that of a request that came later.
func TestALateCommitEndsNoSessionInUse(t *testing.T) {
	use := func(t *testing.T, c *coalesce.Storage) { must(t, c.UpdateTTL(ctx, "a", ttl)) }
	for name, test := range map[string]func(t *testing.T, s *teststore.Store, c *coalesce.Storage){
		"a slide while the commit is at the store": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			release := late(t, s, c)
			use(t, c)
			release(nil)
		},
		"an unchanged close": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			release := late(t, s, c)
			touch(t, c, "a", get(t, c, "a"))
			release(nil)
		},
		"a slide that is skipped": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			s.Refuse(func(string) error { return errAway })
			put(t, c, "a", "k", 1)
			time.Sleep(ttl * 9 / 100)
			use(t, c)
			time.Sleep(ttl * 3 / 100)
			release := hold(s)
			use(t, c)
			release(nil)
		},
		"an attempt that fails": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			release := late(t, s, c)
			use(t, c)
			release(errAway)
		},
		"a reply that is lost": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			release := late(t, s, c)
			s.OnCommit = func(context.Context, string) error { s.OnCommit = nil; return errAway }
			use(t, c)
			release(nil)
		},
		"a change that may leave no session": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			s.Refuse(func(string) error { return errAway })
			base := get(t, c, "a")
			delta, err := tiers.Diff(base, map[string]any{"l": 0})
			must(t, err)
			_, err = c.Commit(ctx, "a", delta, ttl)
			must(t, err)
			time.Sleep(ttl / 5)
			use(t, c)
			s.Refuse(nil)
		},
		"a later change that isn't committed yet": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			release := late(t, s, c)
			put(t, c, "a", "k", 2)
			s.OnCommit = func(context.Context, string) error {
				s.Refuse(func(string) error { return errAway })
				return nil
			}
			release(nil)
			s.OnCommit = nil
		},
		"a later change that doesn't merge": func(t *testing.T, s *teststore.Store, c *coalesce.Storage) {
			s.Refuse(func(string) error { return errAway })
			put(t, c, "a", "k", 1)
			time.Sleep(ttl / 5)
			refill(t, c, "a", "m", 2)
			s.OnCommit = func(context.Context, string) error {
				s.Refuse(func(string) error { return errAway })
				return nil
			}
			s.Refuse(nil)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			s.OnCommit = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				s.Put("a", map[string]any{"k": 0, "l": 0}, ttl)
				test(t, s, c)
				used := time.Now()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				at := s.Expires("a")
				if early := used.Add(ttl - 5*time.Second).Sub(at); early > 0 {
					t.Errorf("a session in use expires %v early", early)
				}
				if long := at.Sub(used.Add(ttl + ttl/10)); long > 0 {
					t.Errorf("a session expires %v late", long)
				}
				s.Refuse(nil)
			}, writeBehind(time.Second))
		})
	}
}

// A store that is out of memory takes slides, but no changes.
func TestASessionInUseOutlivesAStoreThatTakesNoChanges(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		s.Refuse(func(string) error { return errAway })
		put(t, c, "a", "k", 1)
		for range 60 {
			time.Sleep(ttl / 20)
			state := get(t, c, "a")
			if state == nil {
				t.Fatal("a session in use has ended")
			}
			touch(t, c, "a", state)
		}
		s.Refuse(nil)
		must(t, c.Flush(ctx))
		if got := get(t, c, "a").Get("k"); got != 1 {
			t.Errorf("the change is %v", got)
		}
		if _, _, slides := s.Count(); slides > 33 {
			t.Errorf("%d slides", slides)
		}
	}, writeBehind(time.Second))
}

// The expiry that is remembered of a session that was removed isn't that of the next one under its id.
func TestTheExpiryOfACommitBeforeARemovalIsForgotten(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		put(t, c, "a", "k", 1)
		release := hold(s)
		removed := make(chan error)
		go func() { removed <- c.RemoveAll(ctx, "a") }()
		synctest.Wait()
		release(nil)
		must(t, <-removed)
		s.Put("a", map[string]any{"k": 2}, time.Minute)
		must(t, c.UpdateTTL(ctx, "a", ttl))
		if left := time.Until(s.Expires("a")); left < ttl {
			t.Errorf("the new session expires early, in %v", left)
		}
	}, writeBehind(time.Second))
}

// A change that is delayed is in the store before its session expires there, also if the store doesn't show when that is.
func TestAChangeOfASessionThatIsAboutToExpire(t *testing.T) {
	for _, silent := range []bool{false, true} {
		s := teststore.New()
		s.Silent = silent
		bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
			s.Put("a", map[string]any{"k": 0}, ttl)
			time.Sleep(ttl - 500*time.Millisecond)
			put(t, c, "a", "k", 1)
			time.Sleep(time.Minute)
			if got := get(t, c, "a"); got == nil || got.Get("k") != 1 {
				t.Errorf("silent %v: a session in use holds %v", silent, text(got))
			}
		}, writeBehind(time.Second))
	}
}

// A change is delayed also if only the state that its request was given says when the session expires.
func TestAChangeOfASessionThatIsNotRememberedIsDelayed(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		read, err := s.Load(ctx, "a", ttl) // as a memory above, which has it for long
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Commit(ctx, "a", change(t, read.Snapshot, "k", 1), ttl); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if _, commits, _ := s.Count(); commits != 0 {
			t.Error("the change didn't wait")
		}
	}, writeBehind(time.Second))
}

// A change that waits on one node doesn't set an expiry that is earlier than what requests on another one want.
func TestALateCommitEndsNoSessionThatAnotherNodeUses(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		s.Refuse(func(string) error { return errAway })
		put(t, c, "a", "k", 1)
		time.Sleep(ttl / 5)
		other := coalesce.New(s)
		defer other.Close(ctx)
		must(t, other.UpdateTTL(ctx, "a", ttl))
		used := time.Now()
		s.Refuse(nil)
		must(t, c.Flush(ctx))
		if early := used.Add(ttl).Sub(s.Expires("a")); early > 0 {
			t.Errorf("a session in use expires %v early", early)
		}
	}, writeBehind(time.Second))
}

// A late change of a session that another node has removed is given up, as one that isn't late.
func TestALateCommitOfASessionThatIsGone(t *testing.T) {
	s := teststore.New()
	var reports []coalesce.GiveUp
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 0}, ttl)
		release := late(t, s, c)
		release(errAway)
		s.Drop("a")
		must(t, c.Flush(ctx))
		synctest.Wait()
		if len(reports) != 1 || !errors.Is(reports[0].Cause, tiers.ErrRevoked) {
			t.Errorf("reported %+v", reports)
		}
	}, writeBehind(time.Second), onGiveUp(func(g coalesce.GiveUp) { reports = append(reports, g) }))
}
