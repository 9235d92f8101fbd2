// Package crew runs short functions on goroutines that stay for a while. A new goroutine
// begins with a small stack, and a call of go-redis has it grown, which means copied, three
// times.
package crew

import (
	"slices"
	"sync"
	"time"
)

// Idle is how long a goroutine stays that has nothing to do.
const Idle = 20 * time.Millisecond

// Crew has as many goroutines as functions were running at once during the last Idle. The
// zero value is ready for use, from any goroutine.
//
// mu guards idle and closed, and running grows under it.
type Crew struct {
	mu      sync.Mutex
	idle    []chan func() // of those that wait, the last to come behind
	closed  bool
	running sync.WaitGroup
}

// Go runs f, as the go statement does. An f that ends its goroutine has deferred all that it has
// to do. After Close only what the crew runs may call Go.
func (c *Crew) Go(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.idle) - 1; last >= 0 {
		c.idle[last] <- f
		c.idle = c.idle[:last]
		return
	}
	c.running.Go(func() { c.serve(f) })
}

func (c *Crew) serve(f func()) {
	next := make(chan func(), 1)
	timer := time.NewTimer(Idle)
	defer timer.Stop()
	for f != nil {
		f()
		if f = nil; c.offer(next) {
			timer.Reset(Idle)
			f = c.wait(next, timer.C)
		}
	}
}

// offer takes a goroutine among those that wait.
func (c *Crew) offer(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.idle = append(c.idle, next)
	}
	return !c.closed
}

// wait returns what to do next, nil for nothing.
func (c *Crew) wait(next chan func(), over <-chan time.Time) func() {
	select {
	case f := <-next:
		return f
	case <-over:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := slices.Index(c.idle, next)
	if n < 0 {
		return <-next
	}
	c.idle = slices.Delete(c.idle, n, n+1)
	return nil
}

// Close has no goroutine stay that has nothing to do.
func (c *Crew) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, next := range c.idle {
		close(next)
	}
	c.idle = nil
}

// Wait returns when no goroutine is left of a crew that was closed.
func (c *Crew) Wait() { c.running.Wait() }
