package sessionmap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

func mustLock(t testing.TB, l *Locks, id string) func() {
	t.Helper()
	unlock, err := l.Lock(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

func TestLocksExcludeEachOtherPerID(t *testing.T) {
	var locks Locks
	counts := [3]int{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for round := range 300 {
				n := round % len(counts)
				unlock, err := locks.Lock(context.Background(), fmt.Sprint(n))
				if err != nil {
					t.Error(err)
					return
				}
				counts[n]++ // a race, but for the lock
				unlock()
			}
		})
	}
	all.Wait()
	if counts != [3]int{800, 800, 800} {
		t.Errorf("counts = %v", counts)
	}
	if len(locks.locks) != 0 {
		t.Errorf("%d locks are left", len(locks.locks))
	}
}

func TestOtherIDsDoNotWait(t *testing.T) {
	var locks Locks
	unlock := mustLock(t, &locks, "a")
	mustLock(t, &locks, "b")()
	unlock()
}

func TestWaiterGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks Locks
		unlock := mustLock(t, &locks, "a")
		why := errors.New("gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := locks.Lock(ctx, "a"); !errors.Is(err, why) {
					t.Errorf("lock = %v, want the context's cause", err)
				}
			})
		}
		patient := make(chan func(), 1)
		go func() { patient <- mustLock(t, &locks, "a") }()
		synctest.Wait()
		if n := locks.locks["a"].waiters; n != 5 {
			t.Fatalf("%d hold or wait, want 5", n)
		}
		cancel(why)
		all.Wait()
		unlock()
		(<-patient)()
		if len(locks.locks) != 0 {
			t.Error("a lock is left")
		}
	})
}

// A lock that is free is taken even under a context that has ended: the holder of the
// lock decides what that means.
func TestFreeLockNeedsNoLivingContext(t *testing.T) {
	var locks Locks
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		unlock, err := locks.Lock(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}
