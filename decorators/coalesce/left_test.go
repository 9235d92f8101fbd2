package coalesce_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// left closes a chain whose store takes no writes, which comes back afterwards.
func left(t *testing.T, c *coalesce.Storage, s *teststore.Store) {
	t.Helper()
	s.Refuse(func(string) error { return errors.New("away") })
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Close(over); err == nil {
		t.Fatal("Close returns nil")
	}
	coalesce.Leave(c)
	s.Refuse(nil)
}

// holdNext has the next write that comes to the store wait there until release is closed. Later ones are let through.
func holdNext(s *teststore.Store) (arrived <-chan struct{}, release chan struct{}) {
	arrives, first := make(chan struct{}), atomic.Bool{}
	release = make(chan struct{})
	s.Refuse(func(string) error {
		if !first.CompareAndSwap(false, true) {
			return nil
		}
		close(arrives)
		<-release
		return nil
	})
	return arrives, release
}

// Whatever is called once a chain was closed of a session of which its journal has changes, the next process delivers
// these. So the call is refused. Other sessions' calls go to the store.
func TestASessionThatWaitsInTheJournalOfAClosedChain(t *testing.T) {
	for name, call := range map[string]func(c *coalesce.Storage) error{
		"a log-out":   func(c *coalesce.Storage) error { return c.RemoveAll(ctx, "a") },
		"a write":     func(c *coalesce.Storage) error { return replace(t, c, "a", "2") },
		"a read":      func(c *coalesce.Storage) error { _, err := c.Load(ctx, "a", ttl); return err },
		"a new id":    func(c *coalesce.Storage) error { return regenerate(c, "a") },
		"an addition": func(c *coalesce.Storage) error { return add(ctx, c, "a", "2") },
		"an unchanged close": func(c *coalesce.Storage) error {
			_, err := c.Commit(ctx, "a", change(t, tiers.Adopt(map[string]any{"k": "1"}), "k", "1"), time.Second)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := teststore.New(), t.TempDir()
			c := journaled(t, s, dir)
			s.Refuse(func(string) error { return errAway })
			must(t, add(ctx, c, "a", "1"))
			left(t, c, s)
			if err := call(c); err == nil || !strings.Contains(err.Error(), "call the next chain") {
				t.Errorf("returns %v", err)
			}
			if read, _ := s.Load(ctx, "a", ttl); read.Snapshot != nil {
				t.Errorf("the store holds %v", text(read.Snapshot))
			}
			lost := make(chan coalesce.GiveUp, 1)
			next := journaled(t, s, dir, onGiveUp(func(g coalesce.GiveUp) { lost <- g }))
			if err := next.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			if read, _ := s.Load(ctx, "a", ttl); read.Snapshot == nil {
				<-lost // it was at the store when the chain was closed, and isn't begun a second time
			} else if read.Snapshot.Get("k") != "1" {
				t.Errorf("the next process has delivered %v", text(read.Snapshot))
			}
			if err := add(ctx, c, "b", "2"); err != nil {
				t.Error(err)
			}
			if err := c.RemoveAll(ctx, "b"); err != nil || get(t, c, "b") != nil {
				t.Errorf("another session's log-out returns %v", err)
			}
		})
	}
}

// A log-out that is at the store when the chain is closed may succeed when the journal is closed: what it has annulled
// is off the disk by then, and reported.
func TestALogOutAtTheStoreWhenTheChainIsClosed(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	lost := make(chan coalesce.GiveUp, 1)
	c := journaled(t, s, dir, onGiveUp(func(g coalesce.GiveUp) { lost <- g }))
	s.Put("a", map[string]any{"k": "0"}, ttl)
	put(t, c, "a", "k", "1")
	refill(t, c, "a", "l", "2") // waits with the change before it, and begins the session if that is gone
	removing, finish := holdNext(s)
	removed := make(chan error)
	go func() { removed <- c.RemoveAll(ctx, "a") }()
	<-removing
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Close(over); err == nil {
		t.Error("Close returns nil")
	}
	if err := c.RemoveAll(ctx, "a"); err == nil {
		t.Error("a log-out returns nil before the one that is under way")
	}
	close(finish)
	if err := <-removed; err != nil {
		t.Errorf("the log-out returns %v", err)
	}
	s.Refuse(nil)
	if got := get(t, journaled(t, s, dir), "a"); got != nil {
		t.Errorf("the next process has brought %v", text(got))
	}
	poll.Until(t, "the changes are reported", func() bool { return len(lost) == 1 })
	if g := <-lost; g.Changes != 2 {
		t.Errorf("reported %+v", g)
	}
}

// A write that hangs at the store when the chain is closed may come to it after any later call. So such a call is
// refused, as long as the write is under way.
func TestACallAfterCloseWhileAWriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := teststore.New()
		_, hold := holdNext(s)
		c := coalesce.New(s)
		began := make(chan error)
		go func() { began <- add(ctx, c, "a", "2") }()
		synctest.Wait()
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Close(late); err == nil {
			t.Error("Close returns nil")
		}
		if err := c.RemoveAll(ctx, "a"); err == nil {
			t.Error("a log-out returns nil before a commit that is under way")
		}
		close(hold)
		<-began
		synctest.Wait()
		if err := c.RemoveAll(ctx, "a"); err != nil || get(t, c, "a") != nil {
			t.Errorf("a log-out after the commit returns %v", err)
		}
	})
}

// So are calls of a session of which the closed journal has a write that has reached the store since: the next process
// would do again what another call has undone.
func TestACallAfterAWriteThatOutlivedItsJournal(t *testing.T) {
	s, dir := teststore.New(), t.TempDir()
	s.Put("a", map[string]any{"k": "0"}, ttl)
	c := journaled(t, s, dir)
	put(t, c, "a", "more", "1")
	writing, finish := holdNext(s)
	go func() { _ = c.Flush(ctx) }()
	<-writing
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Close(over); err == nil {
		t.Error("Close returns nil")
	}
	poll.Until(t, "the journal is closed", func() bool {
		j, _, _, err := journal.Open(dir)
		if err == nil {
			err = j.Close()
		}
		return err == nil
	})
	close(finish)
	coalesce.Leave(c)
	if read, _ := s.Load(ctx, "a", ttl); read.Snapshot.Get("more") != "1" {
		t.Fatalf("the store holds %v", text(read.Snapshot))
	}
	if _, err := c.Commit(ctx, "a", change(t, tiers.Adopt(map[string]any{"k": "0", "more": "1"}), "k", "1"), ttl); err == nil {
		t.Error("a write returns nil, though the next process writes again what came before")
	}
	if err := add(ctx, c, "b", "1"); err != nil {
		t.Errorf("another session's write returns %v", err)
	}
}

// A call that comes during or after Close doesn't end with its caller's context, as none does before.
func TestACancelledCallerStillWritesAfterClose(t *testing.T) {
	s := teststore.New()
	c := coalesce.New(s)
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := add(gone, c, "a", "1"); err != nil {
		t.Errorf("the write returns %v", err)
	}
	if get(t, c, "a") == nil {
		t.Error("the write isn't in the store")
	}
}

// regenerate gives the session a new id, as a log-in does.
func regenerate(c *coalesce.Storage, id string) error {
	session := gsession.New(ttl, c).New(ctx, id)
	if _, err := session.RegenerateId(true); err != nil {
		return err
	}
	return session.Close()
}
