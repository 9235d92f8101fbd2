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

func TestSlidesAreRareAndNeverEarly(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 2000 { // a request every six seconds, for more than three ttl
			time.Sleep(6 * time.Second)
			if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(s.Expires("a")); left < ttl || left > ttl+ttl/10 {
				t.Fatalf("the session has %v left after a request, its ttl is %v", left, ttl)
			}
		}
		if _, _, slides := s.Count(); slides > 2000*6*10/3600+2 {
			t.Errorf("%d slides in 200 minutes, want one each tenth of an hour", slides)
		}
		if err := c.UpdateTTL(ctx, "a", ttl/10); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires("a")); left > ttl/10+ttl/100 {
			t.Errorf("a shorter ttl isn't set: %v left", left)
		}
	})
}

func TestASlideAfterARemovalIsNotSkipped(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		c.UpdateTTL(ctx, "a", ttl)
		if err := c.RemoveAll(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		s.Put("a", map[string]any{"k": 2}, time.Minute)
		if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires("a")); left < ttl {
			t.Errorf("the new session expires early, in %v", left)
		}
	})
}

func TestSlideEverySaysHowRareSlidesAre(t *testing.T) {
	for fraction, want := range map[float64]int64{0: 100, 0.05: 10, 0.5: 1} {
		s := teststore.New()
		synctest.Test(t, func(t *testing.T) {
			c := coalesce.New(s, slideEvery(fraction))
			s.Put("a", map[string]any{"k": 1}, ttl)
			for range 100 { // in half a ttl
				if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
					t.Fatal(err)
				}
				if left, most := time.Until(s.Expires("a")), time.Duration(float64(ttl)*(1+fraction)); left < ttl || left > most {
					t.Fatalf("every %v: %v left of a ttl of %v", fraction, left, ttl)
				}
				time.Sleep(ttl / 201)
			}
			if _, _, slides := s.Count(); int64(slides) != want {
				t.Errorf("every %v: %d slides, want %d", fraction, slides, want)
			}
			if err := c.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// A request that takes the last key removes the session: another one that closes unchanged
// gets ErrRevoked.
func TestAnUnchangedCloseOfAnEmptiedSessionIsRefused(t *testing.T) {
	for _, opts := range [][]coalesce.Option{nil, {writeBehind(time.Minute)}} {
		unchangedAfterEmptied(t, opts...)
	}
}

func unchangedAfterEmptied(t *testing.T, opts ...coalesce.Option) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		base := get(t, c, "a")
		if _, err := c.Commit(ctx, "a", change(t, base, "k", 2), ttl); err != nil {
			t.Fatal(err)
		}
		base = get(t, c, "a")
		emptied, err := tiers.Diff(base, map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		unchanged, err := tiers.Diff(base, base.Map())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Commit(ctx, "a", unchanged, ttl); err != nil {
			t.Errorf("an unchanged close returned %v", err)
		}
		if _, err := c.Commit(ctx, "a", emptied, ttl); err != nil {
			t.Fatal(err)
		}
		if err := c.UpdateTTL(ctx, "a", ttl+ttl/2); err != nil { // of a request that only reads
			t.Fatal(err)
		}
		if _, err := c.Commit(ctx, "a", unchanged, ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("an unchanged close of an emptied session returned %v, want ErrRevoked", err)
		}
		if _, err := c.Commit(ctx, "a", change(t, base, "another", 3), ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("a change of an emptied session returned %v, want ErrRevoked", err)
		}
	}, opts...)
}

// After a commit, or a load that returns the expiry, requests that come soon after have nothing to
// slide: each slide would invalidate every other node's copy.
func TestASlideAfterACommitOrALoadIsSkipped(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		if _, err := c.Commit(ctx, "a", change(t, get(t, c, "a"), "k", 2), ttl); err != nil {
			t.Fatal(err)
		}
		s.Put("b", map[string]any{"k": 1}, ttl+ttl/20) // by another node
		get(t, c, "b")
		for range 3 {
			for _, id := range []string{"a", "b"} {
				if err := c.UpdateTTL(ctx, id, ttl); err != nil {
					t.Fatal(err)
				}
				if left := time.Until(s.Expires(id)); left < ttl || left > ttl+ttl/10 {
					t.Errorf("%v left", left)
				}
			}
		}
		if _, _, slides := s.Count(); slides != 0 {
			t.Errorf("%d slides", slides)
		}
		time.Sleep(ttl / 10)
		for _, id := range []string{"a", "b"} {
			if err := c.UpdateTTL(ctx, id, ttl); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(s.Expires(id)); left < ttl {
				t.Errorf("a session in use has %v left", left)
			}
		}
	})
}

// The expiry that a load returns isn't learnt if the session has been removed meanwhile: the one
// that comes next may end sooner.
func TestTheExpiryOfARemovedSessionIsForgotten(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl+ttl/20)
		loaded, released := make(chan struct{}), make(chan struct{})
		s.OnLoaded = func(string) { close(loaded); <-released }
		done := make(chan struct{})
		go func() {
			defer close(done)
			get(t, c, "a")
		}()
		<-loaded
		if err := c.RemoveAll(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		close(released)
		<-done
		s.OnLoaded = nil
		s.Put("a", map[string]any{"k": 2}, time.Minute)
		if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires("a")); left < ttl {
			t.Errorf("the new session expires early, in %v", left)
		}
	})
}

// Another program may set an expiry that is earlier, as a program does that calls PEXPIRE: a
// session that is in use lives on.
func TestASlideFollowsAnExpiryThatAnotherProgramSet(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		s.Put("a", map[string]any{"k": 1}, time.Second)
		for range 100 {
			time.Sleep(20 * time.Millisecond)
			if get(t, c, "a") == nil {
				t.Fatal("a session in use has expired")
			}
			if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(s.Expires("a")); left < ttl {
				t.Fatalf("%v left after a request", left)
			}
		}
		if _, _, slides := s.Count(); slides != 2 {
			t.Errorf("%d slides, want the first and one for the expiry that was set", slides)
		}
	})
}

// A session that lost its expiry gets one again from the next request that uses it, though
// one was set a moment ago.
func TestALostExpiryIsSetAgain(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(s)
		defer c.Close(ctx)
		s.Put("a", map[string]any{"k": 1}, ttl)
		use := func(slides int) {
			t.Helper()
			read, err := c.Load(ctx, "a", ttl)
			if err != nil {
				t.Fatal(err)
			}
			delta, err := tiers.Diff(read.Snapshot, read.Snapshot.Map())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Commit(ctx, "a", delta, ttl); err != nil {
				t.Fatal(err)
			}
			if _, _, n := s.Count(); n != slides {
				t.Errorf("%d slides, want %d", n, slides)
			}
		}
		time.Sleep(time.Second)
		use(1)
		use(1)
		s.Persist("a")
		use(2)
	})
}

// Once it is closed, each slide is the store's.
func TestNoSlideIsSkippedAfterClose(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(s)
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 2 {
			if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
				t.Fatal(err)
			}
			if until, skips := c.SkipsSlide("a", ttl); skips {
				t.Errorf("a slide is skipped until %v", until)
			}
		}
		if _, _, slides := s.Count(); slides != 3 {
			t.Errorf("%d slides, want 3", slides)
		}
	})
}

// That a slide says nothing doesn't mean that the session is gone: the close looks.
func TestASlideOfAStoreThatReturnsNoExpiryRevokesNothing(t *testing.T) {
	s := teststore.New()
	s.Mute = true
	synctest.Test(t, func(t *testing.T) {
		l := coalesce.New(s)
		defer l.Close(ctx)
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 2 {
			read, err := l.Load(ctx, "a", ttl)
			if err != nil {
				t.Fatal(err)
			}
			delta, err := tiers.Diff(read.Snapshot, read.Snapshot.Map())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(ttl / 10_000) // a slide is due
			if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
				t.Errorf("an unchanged close of a session that is there: %v", err)
			}
			s.Drop("a")
			if _, err := l.Commit(ctx, "a", delta, 2*ttl); !errors.Is(err, tiers.ErrRevoked) {
				t.Errorf("of one that is gone: %v", err)
			}
			s.Put("a", map[string]any{"k": 1}, ttl)
		}
	})
}

// A repeated change of which nothing is left to write sets no expiry: a user whose session was said to live on,
// while the change waited, finds it there.
func TestASessionInUseOutlivesALostReply(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.OnCommit = func(context.Context, string) error {
			s.Refuse(func(string) error { return errAway })
			return errAway
		}
		put(t, c, "a", "k", 1)
		time.Sleep(ttl / 2)
		base := get(t, c, "a")
		used := time.Now()
		touch(t, c, "a", base)
		s.OnCommit = nil
		s.Refuse(nil)
		must(t, c.Flush(ctx))
		if at := s.Expires("a"); at.Before(used.Add(ttl)) {
			t.Errorf("a session in use expires %v early", used.Add(ttl).Sub(at))
		}
	}, writeBehind(time.Second))
}

// While the chain is being closed, commits set the same expiry as before: slides that it allows to skip are skipped.
func TestASessionInUseWhileTheChainIsClosed(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", 1)
		s.Refuse(func(id string) error {
			if id == "b" {
				return errAway
			}
			return nil
		})
		must(t, add(ctx, c, "b", 1))
		closed := make(chan error)
		soon, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		go func() { closed <- c.Close(soon) }()
		time.Sleep(time.Second)
		put(t, c, "a", "k", 2)
		time.Sleep(ttl / 50)
		must(t, c.UpdateTTL(ctx, "a", ttl))
		if left := time.Until(s.Expires("a")); left < ttl {
			t.Errorf("a session in use has %v left", left)
		}
		<-closed
	}, writeBehind(time.Second))
}
