package crew_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// goroutines is how many of a crew's there are. runtime.NumGoroutine counts one that has ended for a
// moment longer.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "crew.(*Crew).serve(")
}

// One goroutine does what comes one after another, as many as there are what comes at once,
// and those that have nothing to do go.
func TestGoroutinesStayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			c  crew.Crew
			at int
		)
		for n := range 10 {
			c.Go(func() { at = n })
			synctest.Wait()
			if at != n || goroutines() != 1 {
				t.Fatalf("after %d: %d was done, by %d goroutines", n, at, goroutines())
			}
			time.Sleep(crew.Idle - 1)
		}
		release := make(chan struct{})
		for range 3 {
			c.Go(func() { <-release })
		}
		synctest.Wait()
		time.Sleep(time.Hour)
		if n := goroutines(); n != 3 {
			t.Errorf("three things are done by %d goroutines", n)
		}
		close(release)
		synctest.Wait()
		if n := goroutines(); n != 3 {
			t.Errorf("%d goroutines have stayed, want 3", n)
		}
		time.Sleep(crew.Idle)
		synctest.Wait()
		if n := goroutines(); n != 0 {
			t.Errorf("%d goroutines have stayed for too long", n)
		}
		c.Close()
	})
}

// Everything is done once, whatever comes at the moment when a goroutine would go.
func TestEveryFunctionIsRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			c    crew.Crew
			done atomic.Int64
			all  sync.WaitGroup
		)
		const callers, calls = 8, 200
		for range callers {
			all.Go(func() {
				for range calls {
					c.Go(func() { done.Add(1) })
					time.Sleep(crew.Idle) // all wake at once, with those who would go
				}
			})
		}
		all.Wait()
		c.Close()
		c.Wait()
		if n := done.Load(); n != callers*calls {
			t.Errorf("%d of %d were done", n, callers*calls)
		}
	})
}

func TestAClosedCrewKeepsNoIdleGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			c       crew.Crew
			release = make(chan struct{})
			more    bool
		)
		c.Go(func() {})
		c.Go(func() {
			<-release
			c.Go(func() { more = true })
		})
		synctest.Wait()
		c.Close()
		synctest.Wait()
		if n := goroutines(); n != 1 {
			t.Errorf("%d goroutines are left, one has something to do", n)
		}
		close(release)
		c.Wait()
		if n := goroutines(); n != 0 || !more {
			t.Errorf("%d goroutines are left; what the last one began was done: %t", n, more)
		}
	})
}

// A job that ends its goroutine costs the crew that one.
func TestAFunctionMayEndItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crew.Crew
		c.Go(runtime.Goexit)
		synctest.Wait()
		done := false
		c.Go(func() { done = true })
		c.Close()
		c.Wait()
		if !done {
			t.Error("nothing is done any more")
		}
	})
}
