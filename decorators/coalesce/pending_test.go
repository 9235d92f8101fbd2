package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// put commits one key as a request does that was given what the session is now.
func put(t *testing.T, c *coalesce.Storage, id, key string, value any) {
	t.Helper()
	if _, err := c.Commit(ctx, id, change(t, get(t, c, id), key, value), ttl); err != nil {
		t.Fatal(err)
	}
}

// touch commits what a request does that changes nothing.
func touch(t *testing.T, c *coalesce.Storage, id string, base *tiers.Snapshot) {
	t.Helper()
	delta, err := tiers.Diff(base, base.Map())
	if err == nil {
		_, err = c.Commit(ctx, id, delta, ttl)
	}
	must(t, err)
}

// refill commits what a request does that clears the session and sets one key.
func refill(t *testing.T, c *coalesce.Storage, id, key string, value any) {
	t.Helper()
	delta, err := tiers.Diff(get(t, c, id), map[string]any{key: value})
	if err == nil {
		_, err = c.Commit(ctx, id, delta, ttl)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteBehindMergesForAnInterval(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"seed": 1}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		began := time.Now()
		for n := range 50 {
			put(t, c, "a", fmt.Sprint(n%5), n)
			if got := get(t, c, "a"); got.Get(fmt.Sprint(n%5)) != n || got.Get("seed") != 1 {
				t.Fatalf("a read shows %v after %d was set", got.Map(), n)
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("callers waited %v", waited)
		}
		if _, commits, _ := s.Count(); commits != 0 {
			t.Errorf("%d commits before the interval", commits)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, commits, _ := s.Count(); commits != 1 {
			t.Errorf("%d commits within the interval, want 1", commits)
		}
		read, _ := s.Load(ctx, "a", ttl)
		if got := read.Snapshot.Get("4"); got != 49 {
			t.Errorf("the store holds %v, want 49", got)
		}
	}, writeBehind(time.Second))
}

// A log-in shouldn't be unknown to other nodes for longer than it must be.
func TestABeginningSessionIsNotDelayed(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		if err := replace(t, c, "a", 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if read, _ := s.Load(ctx, "a", ttl); read.Snapshot == nil {
			t.Error("the session isn't in the store")
		}
	}, writeBehind(time.Hour))
}

// A session that begins goes at once, also behind a change of one that another node has removed.
func TestALogInGoesWithWhatWaitsBeforeIt(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", 1)
		s.Drop("a")
		if got := get(t, c, "a"); got != nil {
			t.Fatal("a session that was removed is there")
		}
		must(t, add(ctx, c, "a", "2"))
		synctest.Wait()
		if read, _ := s.Load(ctx, "a", ttl); read.Snapshot == nil {
			t.Error("a session that begins waits")
		}
	}, writeBehind(time.Hour/2))
}

// A change that is on its way, or arrives while the store is being read, is seen too.
func TestReadsSeeChangesOnTheirWay(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		refuse := make(chan error)
		s.Refuse(func(string) error { return <-refuse })
		put(t, c, "a", "k", 1)
		time.Sleep(time.Second)
		synctest.Wait() // the commit is at the store, and not applied
		if got := get(t, c, "a").Get("k"); got != 1 {
			t.Errorf("a read shows %v while the commit is on its way, want 1", got)
		}
		once := sync.OnceFunc(func() {
			refuse <- nil // applied, after the store was read and before the read returns
			synctest.Wait()
		})
		s.OnLoaded = func(string) { once() }
		if got := get(t, c, "a").Get("k"); got != 1 {
			t.Errorf("a read shows %v that the commit overtook, want 1", got)
		}

		put(t, c, "a", "k", 2)
		time.Sleep(time.Second)
		synctest.Wait()
		overtaken := sync.OnceFunc(func() {
			refuse <- nil // applied, and overwritten by another node, before the store is read
			synctest.Wait()
			s.Put("a", map[string]any{"k": 9}, ttl)
		})
		s.OnLoad = func(context.Context, string) { overtaken() }
		if got := get(t, c, "a").Get("k"); got != 9 {
			t.Errorf("a read shows %v, which another node has overwritten with 9", got)
		}

		put(t, c, "a", "k", 3)
		time.Sleep(time.Second)
		synctest.Wait()
		put(t, c, "a", "l", 1) // waits behind it
		again := sync.OnceFunc(func() {
			refuse <- nil
			synctest.Wait()
		})
		s.OnLoaded = func(string) { again() }
		if got := get(t, c, "a"); got.Get("k") != 3 || got.Get("l") != 1 {
			t.Errorf("a read shows %v, which the commit of k overtook", got.Map())
		}
		s.Refuse(nil)
	}, writeBehind(time.Second))
}

// cache notes how a cache is notified.
type cache struct {
	tokens uint64
	open   int // begun, and not ended
	notes  []string
}

func (c *cache) Begin(string) uint64 { c.tokens++; c.open++; return c.tokens }

func (c *cache) Abandon(string) { c.open-- }

func (c *cache) Done(id string, _ time.Duration, token uint64, state *tiers.Snapshot) {
	c.open--
	c.notes = append(c.notes, fmt.Sprint("became ", text(state)))
}

func (c *cache) Accept(id string, _ time.Duration, state *tiers.Snapshot) {
	c.notes = append(c.notes, fmt.Sprint("shown ", text(state)))
}

func text(s *tiers.Snapshot) string {
	if s == nil {
		return "unknown"
	}
	return fmt.Sprint(s.Map())
}

// Only the queues know in which order what happens to a session.
func TestCachesAreNotifiedOfWhatBecomesOfASession(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for _, step := range []struct {
			name      string
			meanwhile func()
			want      string
		}{
			{"nothing", func() {}, "[shown map[k:1] became map[k:1]]"},
			{"a change while it is on its way", func() {
				s.Refuse(func(string) error {
					s.Refuse(nil)
					put(t, c, "a", "l", 1)
					return nil
				})
			}, "[shown map[k:2] became map[k:2] shown map[k:2 l:1] became map[k:2 l:1] became map[k:2 l:1]]"},
			{"another node's write", func() { s.Put("a", map[string]any{"other": 1, "k": 0}, ttl) }, "[shown map[k:3 l:1] became map[k:3 other:1]]"},
			{"another node's log-out", func() { s.Drop("a") }, "[shown map[k:4 other:1] became unknown]"},
		} {
			notified := &cache{}
			stop := c.Follow(notified)
			put(t, c, "a", "k", int(step.want[13]-'0'))
			step.meanwhile()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := fmt.Sprint(notified.notes); got != step.want {
				t.Errorf("%s meanwhile: a cache gets %v, want %s", step.name, got, step.want)
			}
			stop()
		}
	}, writeBehind(time.Second))
}

// A read that is under way while a new session is committed and the reply is lost shows the session.
func TestAReadDuringACommitWhoseReplyIsLost(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Refuse(func(string) error { time.Sleep(10 * time.Millisecond); return nil })
		s.OnCommit = func(context.Context, string) error { s.OnCommit = nil; return errAway }
		s.OnLoaded = func(string) { s.OnLoaded = nil; time.Sleep(15 * time.Millisecond) }
		must(t, replace(t, c, "a", "1"))
		if got := get(t, c, "a"); got == nil || got.Get("k") != "1" {
			t.Errorf("read %v", text(got))
		}
	}, writeBehind(time.Second))
}

// A cache waits for the end of what was begun, so that there must be one.
func TestEveryBeginOfACacheIsEnded(t *testing.T) {
	away := errors.New("away")
	for name, meanwhile := range map[string]func(s *teststore.Store, c *coalesce.Storage){
		"a read that fails": func(s *teststore.Store, c *coalesce.Storage) {
			short, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := c.Load(short, "a", ttl); err == nil {
				panic("a read succeeds under a context that has ended")
			}
		},
		"a read that panics": func(s *teststore.Store, c *coalesce.Storage) {
			s.OnLoad = func(context.Context, string) { panic(away) }
			defer func() { _ = recover() }()
			_, _ = c.Load(ctx, "a", ttl)
		},
		"a read that a commit overtakes": func(s *teststore.Store, c *coalesce.Storage) {
			s.OnLoaded = func(string) { s.OnLoaded = nil; _ = c.Flush(ctx) }
			_, _ = c.Load(ctx, "a", ttl)
		},
		"a commit that is tried again": func(s *teststore.Store, c *coalesce.Storage) {
			s.Refuse(func(string) error { return away })
			time.Sleep(10 * time.Second)
			s.Refuse(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			s.Put("a", map[string]any{"k": 0}, ttl)
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				notified := &cache{}
				defer c.Follow(notified)()
				put(t, c, "a", "k", 1)
				meanwhile(s, c)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if begun := notified.tokens; notified.open != 0 || begun == 0 {
					t.Errorf("%d of %d have not ended", notified.open, begun)
				}
			}, writeBehind(time.Second))
		})
	}
}

// A commit returns the state that readers see, if it is known since when it is.
func TestACommitReturnsWhatReadersSee(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		base := get(t, c, "a")
		first, err := c.Commit(ctx, "a", change(t, base, "k", 1), ttl)
		if err != nil || first.Get("k") != 1 || !first.Read().Equal(base.Read()) || base.Read().IsZero() {
			t.Fatalf("the commit returns %v, %v", first, err)
		}
		second, err := c.Commit(ctx, "a", change(t, base, "other", 2), ttl) // a request that overlaps
		if err != nil || second.Get("k") != 1 || second.Get("other") != 2 {
			t.Fatalf("the second commit returns %v, %v", second, err)
		}
	}, writeBehind(time.Second))
}

func TestFailedCommitsAreTriedAgain(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		var attempts []time.Time
		s.Refuse(func(string) error { attempts = append(attempts, time.Now()); return errors.New("away") })
		put(t, c, "a", "k", 1)
		time.Sleep(30 * time.Second)
		put(t, c, "a", "later", 2) // accepted while the store is away
		synctest.Wait()
		for n := 1; n < len(attempts); n++ {
			if pause := attempts[n].Sub(attempts[n-1]); pause > 2*time.Second {
				t.Errorf("attempt %d came %v after the one before", n+1, pause)
			}
		}
		if n := len(attempts); n < 15 || n > 45 {
			t.Errorf("%d attempts in 30 s, want a back-off up to 2 s", n)
		}
		s.Refuse(nil)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		read, _ := s.Load(ctx, "a", ttl)
		if read.Snapshot.Get("k") != 1 || read.Snapshot.Get("later") != 2 {
			t.Errorf("the store holds %v", read.Snapshot.Map())
		}
		if left := time.Until(s.Expires("a")); left > ttl+ttl/10 {
			t.Errorf("the session lives for %v after a late commit", left)
		}
	}, writeBehind(time.Second))
}

// However late a commit is, the session's life counts from the request.
func TestALateCommitDoesNotProlongTheSession(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, 2*ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		s.Refuse(func(string) error { return errors.New("away") })
		put(t, c, "a", "k", 1)
		end := time.Now().Add(ttl + ttl/10)
		time.Sleep(ttl / 2)
		s.Refuse(nil)
		time.Sleep(4 * time.Second)
		if at := s.Expires("a"); !at.Equal(end) {
			t.Errorf("the session expires %v after its ttl", at.Sub(end))
		}
		if err := c.UpdateTTL(ctx, "a", ttl); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires("a")); left < ttl {
			t.Errorf("a session in use has %v left", left)
		}
	}, writeBehind(time.Second))
}

func TestWhatCanNotBeDeliveredIsReported(t *testing.T) {
	s := teststore.New()
	var reports []coalesce.GiveUp
	away := errors.New("away")
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		notified := &cache{}
		defer c.Follow(notified)()
		for name, test := range map[string]struct {
			meanwhile func()
			cause     error
			after     time.Duration
		}{
			"the session expires":       {func() { s.Refuse(func(string) error { return away }) }, away, ttl + time.Second},
			"the store never takes it":  {func() { s.Refuse(func(string) error { return failure.Refused(away) }) }, away, time.Second},
			"another node's log-out":    {func() { s.Drop("a") }, tiers.ErrRevoked, time.Second},
			"the removal fails as well": {func() { s.Refuse(func(string) error { return away }); c.RemoveAll(ctx, "a") }, away, 0},
		} {
			reports, notified.notes = nil, nil
			s.Refuse(nil)
			s.Put("a", map[string]any{"k": 0}, 2*ttl)
			c.UpdateTTL(ctx, "a", ttl)
			put(t, c, "a", "k", 1)
			put(t, c, "a", "k", 2)
			test.meanwhile()
			time.Sleep(test.after + 10*time.Second) // for the report after that of the case before
			synctest.Wait()
			if len(reports) != 1 || reports[0].Changes != 2 || !errors.Is(reports[0].Cause, test.cause) {
				t.Fatalf("%s: reported %+v, want 2 changes lost for %v", name, reports, test.cause)
			}
			if name == "the session expires" && (reports[0].Attempts < 100 || reports[0].Age < ttl) {
				t.Errorf("%s: %d attempts in %v", name, reports[0].Attempts, reports[0].Age)
			}
			if n := len(notified.notes); n == 0 || notified.notes[n-1] != "became unknown" {
				t.Errorf("%s: a cache that was shown the change gets %v", name, notified.notes)
			}
			if short, err := c.Load(ctx, "a", ttl); err != nil || short.Outcome == tiers.OutcomePending {
				t.Errorf("%s: a read still shows the change, %v", name, err)
			}
		}
		s.Refuse(nil)
	}, writeBehind(time.Second), onGiveUp(func(g coalesce.GiveUp) { reports = append(reports, g) }))
}

func TestCallersWaitAtABound(t *testing.T) {
	for name, opt := range map[string]coalesce.Option{
		"sessions": maxPending(4), "bytes": maxPendingBytes(4 * 2000),
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				s.Refuse(func(string) error { return errors.New("away") })
				gone, cancel := context.WithCancel(ctx)
				cancel() // a client that went away: its change isn't lost either
				accepted := make(chan int, 10)
				for n := range 10 {
					id := fmt.Sprint(n)
					s.Put(id, map[string]any{"k": 0}, 10*ttl)
					delta := change(t, get(t, c, id), "k", strings.Repeat("x", 500))
					go func() {
						if _, err := c.Commit(gone, id, delta, 10*ttl); err != nil {
							t.Error(err)
						}
						accepted <- n
					}()
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(accepted); n < 2 || n > 4 {
					t.Errorf("%d of 10 changes were accepted at a bound of 4", n)
				}
				s.Refuse(nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := len(accepted); n != 10 {
					t.Errorf("%d of 10 changes were accepted once there was room", n)
				}
				if err := c.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				for n := range 10 {
					if read, _ := s.Load(ctx, fmt.Sprint(n), ttl); read.Snapshot.Get("k") == 0 {
						t.Errorf("change %d is lost", n)
					}
				}
			}, writeBehind(time.Second), opt)
		})
	}
}

// A change that waited for room while another request emptied its session is refused, and not accepted and then given up.
func TestASessionThatIsEmptiedWhileAChangeWaitsForRoom(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for _, id := range []string{"a", "b"} {
			s.Put(id, map[string]any{"k": "0"}, ttl)
		}
		base, full := get(t, c, "a"), change(t, get(t, c, "b"), "k", strings.Repeat("x", 5000))
		emptying, err := tiers.Diff(base, map[string]any{})
		must(t, err)
		late := change(t, base, "another", "1")
		s.Refuse(func(string) error { return errAway })
		_, err = c.Commit(ctx, "b", full, ttl)
		must(t, err)
		var (
			group          sync.WaitGroup
			emptied, wrote error
		)
		group.Go(func() { _, emptied = c.Commit(ctx, "a", emptying, ttl) })
		synctest.Wait()
		group.Go(func() { _, wrote = c.Commit(ctx, "a", late, ttl) })
		synctest.Wait()
		s.Refuse(nil)
		group.Wait()
		if emptied != nil || !errors.Is(wrote, tiers.ErrRevoked) {
			t.Errorf("the requests return %v and %v, want ErrRevoked for the second", emptied, wrote)
		}
	}, writeBehind(time.Second), maxPendingBytes(4000))
}

// An accepted change keeps nothing of its request alive.
func TestAPendingChangeKeepsNoRequest(t *testing.T) {
	type key struct{}
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		var kept any
		s.OnCommit = func(ctx context.Context, _ string) error { kept = ctx.Value(key{}); return nil }
		request, cancel := context.WithCancel(context.WithValue(ctx, key{}, "a request"))
		if _, err := c.Commit(request, "a", change(t, get(t, c, "a"), "k", 1), ttl); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if kept != nil {
			t.Error("the commit has the request's context")
		}
	}, writeBehind(time.Second))
}

// A session that is changed often takes the room of one.
func TestMergedChangesCountOnce(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": ""}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 100 {
			put(t, c, "a", "k", strings.Repeat("x", 1000+n))
		}
		if changes, bytes, _ := c.Pending(); changes != 100 || bytes < 1000 || bytes > 12_000 {
			t.Errorf("%d changes of one key of 1 KB take %d bytes", changes, bytes)
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if changes, bytes, _ := c.Pending(); changes != 0 || bytes != 0 {
			t.Errorf("%d changes and %d bytes are pending after Flush", changes, bytes)
		}
	}, writeBehind(time.Hour))
}

// Three quarters of a bound make everything due.
func TestNearABoundNothingIsDelayed(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 7 {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": 0}, ttl)
			put(t, c, id, "k", 1)
		}
		synctest.Wait()
		if _, commits, _ := s.Count(); commits != 7 {
			t.Errorf("%d of 7 changes are in the store", commits)
		}
	}, writeBehind(time.Hour), maxPending(10))
}

func TestRemoveAllAnnulsWhatIsPending(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", 1)
		if err := c.RemoveAll(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if get(t, c, "a") != nil {
			t.Error("the session is still there")
		}
		replace(t, c, "b", 1)
		synctest.Wait()
		put(t, c, "b", "k", 2)
		s.Refuse(func(string) error { time.Sleep(time.Second); s.Refuse(nil); return errors.New("away") })
		time.Sleep(time.Second) // the change is on its way, and will fail
		synctest.Wait()
		began := time.Now()
		if err := c.RemoveAll(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("the log-out took %v behind a commit that fails after a second", waited)
		}
		time.Sleep(time.Hour)
		for _, id := range []string{"a", "b"} {
			if read, _ := s.Load(ctx, id, ttl); read.Snapshot != nil {
				t.Errorf("session %q is back", id)
			}
		}
	}, writeBehind(time.Second))
}

// A change that comes while the session is being removed isn't laid over what the session was.
func TestAChangeDuringARemovalIsLaidOverNothing(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", 1)
		s.Refuse(func(string) error { time.Sleep(time.Second); s.Refuse(nil); return nil })
		removed := make(chan error, 1)
		go func() { removed <- c.RemoveAll(ctx, "a") }()
		synctest.Wait()
		notified := &cache{}
		stop := c.Follow(notified)
		put(t, c, "a", "l", 1)
		stop()
		if got := fmt.Sprint(notified.notes); got != "[shown unknown]" {
			t.Errorf("a cache gets %s of a session that is being removed", got)
		}
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
	}, writeBehind(time.Second))
}

func TestFlushAndCloseOfPendingChanges(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		c := coalesce.New(s, writeBehind(time.Hour))
		for n := range 20 {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": 0}, 10*ttl)
			put(t, c, id, "k", 1)
			put(t, c, id, "l", 1)
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if _, commits, _ := s.Count(); commits != 20 {
			t.Errorf("%d commits after Flush, want 20", commits)
		}
		for n := range 3 {
			put(t, c, fmt.Sprint(n), "k", 2)
			put(t, c, fmt.Sprint(n), "l", 2)
		}
		s.Refuse(func(string) error { return errors.New("away") })
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := c.Close(short)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "6 changes") {
			t.Errorf("Close returns %v, want the six changes that it could not deliver", err)
		}
		s.Refuse(nil)
		time.Sleep(time.Minute) // nothing runs on
		if read, _ := s.Load(ctx, "0", ttl); read.Snapshot.Get("k") != 1 {
			t.Error("a change was written after Close had returned")
		}
		if err := replace(t, c, "late", 1); err != nil {
			t.Error(err)
		}
		if read, _ := s.Load(ctx, "late", ttl); read.Snapshot == nil {
			t.Error("a write after Close isn't in the store when it returns")
		}
	})
}

// unknown is a store of which it isn't known what it makes of values.
type unknown struct{ tiers.Storage }

func TestOnlyTheStoreKnowsWhatItMakesOfAValue(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	bubble(t, unknown{s}, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", "text")
		put(t, c, "a", "l", "text")
		if _, commits, _ := s.Count(); commits != 0 {
			t.Errorf("%d commits of texts, which come back as they are", commits)
		}
		put(t, c, "a", "n", 5) // goes behind the texts
		if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("n") != 5 || read.Snapshot.Get("l") != "text" {
			t.Errorf("the store holds %v when the number is written", read.Snapshot.Map())
		}
		if got := get(t, c, "a").Get("n"); got != 5 {
			t.Errorf("read %v", got)
		}
		refused := errors.New("refused")
		base := get(t, c, "a")
		s.Refuse(func(string) error { return refused })
		if _, err := c.Commit(ctx, "a", change(t, base, "nested", []any{1}), ttl); !errors.Is(err, refused) {
			t.Errorf("a value that the store refuses returns %v", err)
		}
		s.Refuse(nil)
	}, writeBehind(time.Hour))
}

func TestAnUnchangedCloseIsASlide(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for range 100 {
			touch(t, c, "a", get(t, c, "a"))
		}
		if _, commits, slides := s.Count(); commits != 0 || slides != 1 {
			t.Errorf("%d commits and %d slides for 100 closes that changed nothing, want one slide", commits, slides)
		}
		base := get(t, c, "a")
		s.Drop("a")
		time.Sleep(ttl / 5)
		delta, _ := tiers.Diff(base, base.Map())
		if _, err := c.Commit(ctx, "a", delta, ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("a removed session returns %v", err)
		}
	})
}

func TestImpossibleOptionsPanic(t *testing.T) {
	for text, make := range map[string]func(){
		"layer.Journal keeps": func() { coalesce.New(teststore.New(), inJournal(t.TempDir())) },
		"layer.Coalesced":     func() { coalesce.New(teststore.New(), nil) },
	} {
		func() {
			defer func() {
				if message, ok := recover().(string); !ok || !strings.Contains(message, text) {
					t.Errorf("panic %q doesn't name %s", message, text)
				}
			}()
			make()
			t.Errorf("%s: no panic", text)
		}()
	}
}
