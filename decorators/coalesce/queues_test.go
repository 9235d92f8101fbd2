package coalesce_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

var errAway = errors.New("away")

// nodes is a batching store of several nodes: an id begins with its node's name. A commit or
// removal on a node that hangs waits, whatever its context.
type nodes struct {
	*batching
	hung map[string]chan struct{} // set before use
}

func (n *nodes) Shard(id string) string { return id[:1] }

func (n *nodes) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	for _, c := range commits {
		<-n.hung[n.Shard(c.ID)]
	}
	return n.batching.CommitAll(ctx, commits)
}

func (n *nodes) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	done := n.CommitAll(ctx, []tiers.Commit{{ID: id, Delta: delta, TTL: life}})[0]
	return done.Snapshot, done.Err
}

// A node that hangs delays only the sessions that are its own.
func TestNodesDoNotWaitForEachOther(t *testing.T) {
	s := &nodes{batching: &batching{Store: teststore.New()}}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		hung, well := make(chan struct{}), make(chan struct{})
		close(well)
		s.hung = map[string]chan struct{}{"a": hung, "b": well}
		var group sync.WaitGroup
		for n := range 100 {
			group.Go(func() { _ = replace(t, c, fmt.Sprint("a", n), n) })
			synctest.Wait() // more than the node has pipelines
		}
		began := time.Now()
		for n := range 100 {
			if err := replace(t, c, fmt.Sprint("b", n), n); err != nil {
				t.Error(err)
			}
			if err := c.RemoveAll(ctx, fmt.Sprint("b", n)); err != nil {
				t.Error(err)
			}
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("sessions of a node that is well waited %v for one that hangs", waited)
		}
		close(hung)
		group.Wait()
	})
}

// marshaled is a store that encodes what it commits, together.
type marshaled struct{ *batching }

func (m marshaled) Preview(data map[string]any) (map[string]any, error) {
	content, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	formed := map[string]any{}
	return formed, json.Unmarshal(content, &formed)
}

func (m marshaled) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	for _, c := range commits {
		if _, err := m.Preview(c.Delta.Set()); err != nil {
			panic(err)
		}
	}
	return m.batching.CommitAll(ctx, commits)
}

type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("a secret of one visitor") }

// A value whose encoding panics does so in its own caller, and in no other, though their
// changes go to the store together, and are even of one session.
func TestAValueThatPanicsIsItsOwnCallers(t *testing.T) {
	for name, opts := range map[string][]coalesce.Option{"synchronous": nil, "behind": {writeBehind(time.Second)}} {
		t.Run(name, func(t *testing.T) {
			s := marshaled{&batching{Store: teststore.New(), delay: time.Millisecond}}
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				var (
					group  sync.WaitGroup
					panics atomic.Int32
				)
				for n := range 60 {
					id, value := fmt.Sprint(n%20), any(n)
					if n == 50 {
						value = explosive{}
					}
					group.Go(func() {
						defer func() {
							if p := recover(); p != nil {
								panics.Add(1)
								if n != 50 {
									t.Errorf("caller %d gets %v", n, p)
								}
							}
						}()
						delta, err := tiers.Add(map[string]any{fmt.Sprint("k", n): value})
						if err == nil {
							_, err = c.Commit(ctx, id, delta, ttl)
						}
						if err != nil {
							t.Errorf("caller %d: %v", n, err)
						}
					})
				}
				group.Wait()
				if panics.Load() != 1 {
					t.Errorf("%d callers panicked, want one", panics.Load())
				}
				if err := c.Flush(ctx); err != nil {
					t.Error(err)
				}
				for n := range 60 {
					if got := get(t, c, fmt.Sprint(n%20)); n != 50 && got.Get(fmt.Sprint("k", n)) == nil {
						t.Errorf("change %d is lost", n)
					}
				}
			}, opts...)
		})
	}
}

// A write during a log-out that fails returns that failure, and not that the session is gone.
func TestARemovalThatFailsRevokesNothing(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"user": 1}, ttl)
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		base, release := get(t, c, "a"), make(chan error)
		s.Refuse(func(string) error { return <-release })
		var (
			group             sync.WaitGroup
			flying, other, rm error
		)
		group.Go(func() { _, flying = c.Commit(ctx, "a", change(t, base, "k", 1), ttl) })
		synctest.Wait()
		group.Go(func() { _, other = c.Commit(ctx, "a", change(t, base, "l", 1), ttl) })
		synctest.Wait()
		group.Go(func() { rm = c.RemoveAll(ctx, "a") })
		synctest.Wait()
		release <- nil
		release <- errAway
		group.Wait()
		if flying != nil || !errors.Is(rm, errAway) || !errors.Is(other, errAway) || errors.Is(other, tiers.ErrRevoked) {
			t.Errorf("the commits result %v and %v, the removal %v", flying, other, rm)
		}
		s.Refuse(nil)
		if get(t, c, "a") == nil {
			t.Error("the session is gone")
		}
	})
}

// A log-out waits for no other session: not for commits that hang, nor for what is due, nor
// for a callback.
func TestALogOutWaitsForNoOtherSession(t *testing.T) {
	s := teststore.New()
	var hold chan struct{}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		hold = make(chan struct{})
		for n := range 200 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		s.Refuse(func(id string) error {
			if id == "a" {
				return nil
			}
			if id == "0" {
				return tiers.ErrRevoked // given up, which calls back
			}
			<-hold
			return nil
		})
		time.Sleep(1500 * time.Millisecond) // all workers hang
		s.Put("a", map[string]any{"k": 0}, ttl)
		put(t, c, "a", "k", 1)
		began := time.Now()
		if err := c.RemoveAll(ctx, "a"); err != nil || time.Since(began) > 0 {
			t.Errorf("the log-out returns %v after %v", err, time.Since(began))
		}
		close(hold)
	}, writeBehind(time.Second), onGiveUp(func(coalesce.GiveUp) { <-hold }))
}

// While the store is away a few attempts a second are made in all, however much waits and
// however near a bound is, and all arrives when the store is back.
func TestAStoreThatIsAwayIsAskedNowAndThen(t *testing.T) {
	s := teststore.New()
	const sessions = 2000
	for n := range sessions {
		s.Put(fmt.Sprint(n), map[string]any{"k": 0}, 10*ttl)
	}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		var attempts atomic.Int64
		s.Refuse(func(string) error { attempts.Add(1); return errAway })
		for n := range sessions - 1 {
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		time.Sleep(10 * time.Second)
		before := attempts.Load()
		for range 60 {
			put(t, c, "0", "k", 1) // above three quarters of the bound
			time.Sleep(time.Second)
		}
		if n := attempts.Load() - before; n < 60 || n > 60*8 {
			t.Errorf("%d attempts in a minute, want a few each second", n)
		}
		s.Refuse(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if changes, _, _ := c.Pending(); changes > 50 { // but for what has its own next attempt
			t.Errorf("%d changes are pending a second after the store was back", changes)
		}
	}, writeBehind(time.Second), maxPending(sessions))
}

// A failed write isn't rushed if a bound is near: it keeps its pauses.
func TestAFullBoundHastensOnlyWhatHasNotFailed(t *testing.T) {
	s := teststore.New()
	for n := range 20 {
		s.Put(fmt.Sprint(n), map[string]any{"k": 0}, 10*ttl)
	}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		var attempts atomic.Int64
		s.Refuse(func(id string) error {
			if id == "0" {
				attempts.Add(1)
				return errAway
			}
			return nil
		})
		put(t, c, "0", "k", 1)
		time.Sleep(time.Minute)
		before := attempts.Load()
		for n := range 1000 {
			put(t, c, fmt.Sprint(1+n%19), "k", n)
			time.Sleep(10 * time.Millisecond)
		}
		if n := attempts.Load() - before; n > 20 {
			t.Errorf("%d attempts of a session that fails, in ten seconds", n)
		}
		s.Refuse(nil)
	}, writeBehind(time.Second), maxPending(4))
}

// moving is a store whose sessions are on one node, the name of which changes.
type moving struct {
	*teststore.Store
	node  atomic.Value // of string
	asked atomic.Int64
}

func (m *moving) Shard(string) string {
	if m.asked.Add(1) > 100_000 {
		return "old" // ends the attempts that follow one another at once
	}
	return m.node.Load().(string)
}

// A session that has moved to a node which is away is asked for as rarely as others of that node. So is
// one from the journal, as its node may not be known at first.
func TestASessionThatHasMovedIsTriedNowAndThen(t *testing.T) {
	s := &moving{Store: teststore.New()}
	s.node.Store("old")
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 5 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		s.Refuse(func(string) error {
			time.Sleep(100 * time.Millisecond) // so slowly that calls are refused afterwards
			return errAway
		})
		s.node.Store("new")
		before := s.asked.Load()
		time.Sleep(11 * time.Second)
		if n := s.asked.Load() - before; n < 10 || n > 200 {
			t.Errorf("the node of a session was looked up %d times in ten seconds, want a few for each attempt", n)
		}
		s.Refuse(nil)
		if err := c.Flush(ctx); err != nil {
			t.Error(err)
		}
	}, writeBehind(time.Second))
}

// At the bound changes are let in in the order in which they came, one for each that leaves.
func TestChangesAreLetInInTheirOrder(t *testing.T) {
	s := teststore.New()
	for n := range 20 {
		s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
	}
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		next := make(chan struct{})
		s.Refuse(func(string) error { <-next; return nil })
		var (
			mu    sync.Mutex
			order []int
		)
		for n := range 20 {
			delta := change(t, get(t, c, fmt.Sprint(n)), "k", 1)
			go func() {
				if _, err := c.Commit(ctx, fmt.Sprint(n), delta, ttl); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, n)
			}()
			synctest.Wait()
		}
		for done := 2; done < 20; done++ {
			if len(order) != done || !slices.IsSorted(order) {
				t.Fatalf("%v were let in, want the first %d", order, done)
			}
			next <- struct{}{}
			synctest.Wait()
		}
		close(next)
	}, writeBehind(time.Hour), maxPending(2))
}

// Close returns by its context, though a callback and the store hang.
func TestCloseReturnsByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		hold := make(chan struct{})
		c := coalesce.New(s, writeBehind(time.Second), onGiveUp(func(coalesce.GiveUp) { <-hold }))
		for n := range 3 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
			put(t, c, fmt.Sprint(n), "k", 1)
		}
		s.Refuse(func(id string) error {
			if id == "0" {
				return tiers.ErrRevoked
			}
			<-hold
			return nil
		})
		time.Sleep(2 * time.Second)
		put(t, c, "1", "k", 2) // which Close gives up
		late, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		began := time.Now()
		if err := c.Close(late); err == nil || time.Since(began) > time.Minute+time.Second {
			t.Errorf("Close returns %v after %v", err, time.Since(began))
		}
		close(hold)
	})
}

// A log-out that hangs counts among what Close couldn't deliver.
func TestCloseCountsARemovalThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		s.Put("a", map[string]any{"k": 0}, ttl)
		hold := make(chan struct{})
		s.Refuse(func(string) error { <-hold; return nil })
		c := coalesce.New(s, writeBehind(time.Second))
		removed := make(chan error, 1)
		go func() { removed <- c.RemoveAll(ctx, "a") }()
		synctest.Wait()
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(late); err == nil || !strings.Contains(err.Error(), "1 changes") || time.Since(began) > 2*time.Second {
			t.Errorf("Close returns %v after %v", err, time.Since(began))
		}
		close(hold)
		if err := <-removed; err != nil {
			t.Errorf("the log-out returns %v", err)
		}
	})
}

// A log-out that waits behind a commit that hangs ends with Close, and what it had annulled is reported.
func TestCloseEndsALogOutThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		s.Put("a", map[string]any{"k": 0}, ttl)
		hold := make(chan struct{})
		s.Refuse(func(string) error { <-hold; return nil })
		var lost []coalesce.GiveUp
		c := coalesce.New(s, writeBehind(time.Second), writeTimeout(time.Hour), onGiveUp(func(g coalesce.GiveUp) { lost = append(lost, g) }))
		put(t, c, "a", "k", 1)
		time.Sleep(2 * time.Second)
		put(t, c, "a", "l", 1) // waits behind the commit
		removed := make(chan error, 1)
		go func() { removed <- c.RemoveAll(ctx, "a") }()
		synctest.Wait()
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Close(late); err == nil || !strings.Contains(err.Error(), "3 changes") {
			t.Errorf("Close returns %v", err)
		}
		if err := <-removed; err == nil || errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("the log-out returns %v", err)
		}
		if len(lost) != 1 || lost[0].Changes != 1 {
			t.Errorf("reported %+v, want the change that was annulled", lost)
		}
		close(hold)
		synctest.Wait()
		if changes, bytes, _ := c.Pending(); len(lost) != 1 || changes != 0 || bytes != 0 {
			t.Errorf("%d changes of %d bytes are pending in the end, reported %+v", changes, bytes, lost)
		}
		if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("k") != 1 || read.Snapshot.Get("l") != nil {
			t.Errorf("the store holds %v", text(read.Snapshot))
		}
	})
}

// Close has all that wait at a bound go, though what fills it hangs.
func TestCloseLetsInThoseThatWaitAtABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		hold := make(chan struct{})
		s.Refuse(func(id string) error {
			if id == "0" {
				<-hold
			}
			return nil
		})
		c := coalesce.New(s, writeBehind(time.Hour), maxPending(1))
		outcomes := make(chan error, 4)
		for n := range 4 {
			s.Put(fmt.Sprint(n), map[string]any{"k": 0}, ttl)
			delta := change(t, get(t, c, fmt.Sprint(n)), "k", 1)
			go func() {
				_, err := c.Commit(ctx, fmt.Sprint(n), delta, ttl)
				outcomes <- err
			}()
			synctest.Wait()
		}
		if err := <-outcomes; err != nil {
			t.Fatal(err)
		}
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(late); err == nil {
			t.Error("Close returns nil")
		}
		for range 3 {
			if err := <-outcomes; err != nil || time.Since(began) > time.Second {
				t.Errorf("a change that waited returns %v after %v", err, time.Since(began))
			}
		}
		close(hold)
	})
}

// A callback can't have Close wait for it.
func TestCloseInACallbackIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		s.Put("a", map[string]any{"k": 0}, ttl)
		var c *coalesce.Storage
		result := make(chan error, 1)
		c = coalesce.New(s, writeBehind(time.Second), onGiveUp(func(coalesce.GiveUp) { result <- c.Close(ctx) }))
		put(t, c, "a", "k", 1)
		s.Drop("a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		select {
		case err := <-result:
			if err == nil || !strings.Contains(err.Error(), "another goroutine") {
				t.Errorf("Close in a callback returns %v", err)
			}
		default:
			t.Error("Close in a callback doesn't return")
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// Only the store knows how long a session without a ttl lives, and none is given up.
func TestWriteBehindWithoutATTL(t *testing.T) {
	s := teststore.New()
	var lives []time.Duration
	bubble(t, endless{s, &lives}, func(t *testing.T, c *coalesce.Storage) {
		delta, err := tiers.Add(map[string]any{"k": "1"})
		if err == nil {
			_, err = c.Commit(ctx, "a", delta, 0)
		}
		must(t, err)
		synctest.Wait()
		if len(lives) == 0 || slices.Max(lives) != 0 || slices.Min(lives) != 0 {
			t.Errorf("the store was given %v to live, want 0", lives)
		}
		if got := get(t, c, "a"); got == nil || got.Get("k") != "1" {
			t.Errorf("the session is %v", got)
		}
	}, writeBehind(time.Second), onGiveUp(func(g coalesce.GiveUp) { t.Errorf("gave up %+v", g) }))
}

// endless is a store whose sessions live on with a ttl of 0.
type endless struct {
	*teststore.Store
	lives *[]time.Duration
}

func (e endless) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	*e.lives = append(*e.lives, life)
	return e.Store.Commit(ctx, id, delta, 10*ttl)
}

// Writes whose callers have left are counted and bounded as any others: a caller gets at
// the bound that nothing of its change was written.
func TestWritesOfCallersThatLeftAreBounded(t *testing.T) {
	s := teststore.New()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s.Refuse(func(string) error { <-release; return nil })
		c := coalesce.New(s, maxPending(10), writeTimeout(time.Second))
		gone, cancel := context.WithCancel(ctx)
		cancel()
		delta, err := tiers.Replace(map[string]any{"k": 1})
		must(t, err)
		for n := range 10 {
			if _, err := c.Commit(gone, fmt.Sprint(n), delta, ttl); !errors.Is(err, failure.ErrUnderWay) {
				t.Errorf("a caller that left gets %v", err)
			}
		}
		if changes, bytes, _ := c.Pending(); changes != 10 || bytes < 10*100 {
			t.Errorf("%d changes of %d bytes are pending, want 10", changes, bytes)
		}
		for n := range 10 {
			if err := c.RemoveAll(gone, fmt.Sprint("rm", n)); !errors.Is(err, failure.ErrUnderWay) {
				t.Errorf("a log-out gets %v at the bound", err)
			}
		}
		if err := c.RemoveAll(gone, "one more"); err == nil || errors.Is(err, failure.ErrUnderWay) {
			t.Errorf("a log-out beyond the bound of log-outs gets %v", err)
		}
		began := time.Now()
		if _, err := c.Commit(gone, "one more", delta, ttl); err == nil || errors.Is(err, failure.ErrUnderWay) || time.Since(began) != time.Second {
			t.Errorf("at the bound a caller gets %v after %v", err, time.Since(began))
		}
		close(release)
		must(t, c.Flush(ctx))
		if changes, bytes, _ := c.Pending(); changes != 0 || bytes != 0 {
			t.Errorf("%d changes of %d bytes are pending after Flush", changes, bytes)
		}
		must(t, c.Close(ctx))
	})
}

// A write that a log-out annuls leaves nothing behind that waits for its time.
func TestARemovedSessionWaitsForNoMoment(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		for n := range 100 {
			id := fmt.Sprint(n)
			s.Put(id, map[string]any{"k": 0}, ttl)
			put(t, c, id, "k", 1)
		}
		if n := coalesce.Appointments(c); n != 100 {
			t.Errorf("%d sessions wait for their time, want 100", n)
		}
		for n := range 100 {
			must(t, c.RemoveAll(ctx, fmt.Sprint(n)))
		}
		if n := coalesce.Appointments(c); n != 0 {
			t.Errorf("%d sessions that are gone wait for their time", n)
		}
	}, writeBehind(time.Hour))
}
