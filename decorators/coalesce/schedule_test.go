package coalesce

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/tiers"
)

// scheduled runs a schedule that puts the ids of each call and its second into a list.
func scheduled(t *testing.T, together int, test func(s *schedule, wait func(id string, in time.Duration, attempts int) *sessionQueue, calls func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu     sync.Mutex
			called []string
			began  = time.Now()
		)
		s := &schedule{most: 1, together: together, grain: time.Second}
		s.init(&mu)
		closed := &circuit.Circuit{}
		s.circuit = func(string) *circuit.Circuit { return closed }
		s.fly = (*sessionQueue).take
		s.carry = func(writes []*write, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			call := ""
			for _, w := range writes {
				call += w.id
			}
			called = append(called, fmt.Sprint(call, int(time.Since(began).Seconds())))
		}
		wait := func(id string, in time.Duration, attempts int) *sessionQueue {
			delta, _ := tiers.Add(nil)
			w := &write{change: change{id: id, delta: delta, pending: true}, at: time.Now().Add(in), attempts: attempts}
			k := &sessionQueue{id: id, waiting: []*write{w}}
			mu.Lock()
			defer mu.Unlock()
			s.arrange(k)
			return k
		}
		test(s, wait, func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(called)
		})
		mu.Lock()
		s.close()
		mu.Unlock()
		s.crew.Wait()
	})
}

// Queues go when they are due, those within a grain together; one that has left goes nowhere.
func TestQueuesGoWhenTheyAreDue(t *testing.T) {
	scheduled(t, 10, func(s *schedule, wait func(string, time.Duration, int) *sessionQueue, calls func() []string) {
		wait("d", 9*time.Second, 0)
		wait("a", 2*time.Second, 0)
		gone := wait("x", time.Second, 0)
		wait("c", 4*time.Second, 0)
		wait("b", 2*time.Second+time.Second/2, 0)
		s.mu.Lock()
		s.move(gone, nil)
		s.mu.Unlock()
		time.Sleep(8 * time.Second)
		if got := calls(); !slices.Equal(got, []string{"ab2", "c4"}) {
			t.Errorf("%v went in eight seconds", got)
		}
		wait("e", 0, 0)
		time.Sleep(2 * time.Second)
		if got := calls(); !slices.Equal(got[2:], []string{"e8", "d9"}) {
			t.Errorf("then %v went", got[2:])
		}
	})
}

// A queue whose write has failed never goes early, and isn't rushed.
func TestAQueueThatHasFailedIsNotRushed(t *testing.T) {
	scheduled(t, 10, func(s *schedule, wait func(string, time.Duration, int) *sessionQueue, calls func() []string) {
		wait("f", 5*time.Second, 1)
		wait("a", 4*time.Second+time.Second/2, 0)
		wait("h", time.Hour, 0)
		time.Sleep(4500 * time.Millisecond)
		if got := calls(); !slices.Equal(got, []string{"a4"}) {
			t.Errorf("%v went, want what hasn't failed", got)
		}
		wait("g", time.Hour, 1)
		s.mu.Lock()
		s.rush()
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		if got := calls(); !slices.Equal(got, []string{"a4", "h4", "f5"}) {
			t.Errorf("%v went", got)
		}
	})
}
