// Package circuit keeps callers from waiting for a store, or a node of one, that doesn't
// respond: once several calls in a row have failed, calls are refused at once, and one is
// let through now and then to see whether the store is back.
//
// Lock order: a call's mutex, its circuit's; the nodes' mutex is held while no other is taken.
package circuit

import (
	"context"
	"errors"
	"hash/maphash"
	"net"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

const (
	// Trips is how many calls in a row have to fail before a circuit opens, each for another session than the
	// one before, so that one session that always fails doesn't concern the others. A connection that can't be
	// made concerns all.
	Trips = 3
	// Pause is the time from one probe of an open circuit to the next.
	Pause = 250 * time.Millisecond
	// slow is the duration from which on a failure has an open circuit refuse callers. A store that fails sooner is
	// asked each time, so that each caller gets its own error.
	slow = 50 * time.Millisecond
)

// ErrOpen is the error of a call that is refused without asking the store. errors.Is finds it, and the
// store's last failure.
var ErrOpen = tiers.NewError("strata: the store has failed several times in a row; it is asked again every 250 ms, and nothing was sent until then", nil)

// ErrIndexOpen is that of a call of an index. It isn't ErrOpen, as the circuits of layers above the index let calls through.
var ErrIndexOpen = tiers.NewError(ErrOpen.Error(), nil)

type probeKey struct{}

// AsProbe marks a call that no caller waits for: an open circuit lets one through each Pause.
func AsProbe(ctx context.Context) context.Context { return context.WithValue(ctx, probeKey{}, true) }

// Circuit guards one node of a store, for reads or for writes. The zero value is closed: it lets every call
// through. mu guards all fields.
type Circuit struct {
	mu       sync.Mutex
	failures int       // in a row
	last     uint64    // the hash of the session that failed last
	slow     bool      // the last failure took as long as slow
	next     time.Time // when a probe may go; zero while the circuit is closed
	cause    error
}

// Until returns when an open circuit lets the next probe through, zero while it is closed. Calls that no
// caller waits for are held back until then, also if the failures are fast.
func (c *Circuit) Until() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// enter lets a call through, or returns why not: refused, and the last failure. due says that the caller should have the store probed; a
// call that is a probe itself is let through then.
func (c *Circuit) enter(now time.Time, probe bool, refused error) (due bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next.IsZero() || !c.slow {
		return false, nil
	}
	if due = !now.Before(c.next); due {
		c.next = now.Add(Pause)
	}
	if due && probe {
		return false, nil
	}
	return due, tiers.NotApplied(tiers.NewError(refused.Error(), errors.Join(refused, c.cause)))
}

// doubt lets callers through again, as the store responds to calls of another kind.
func (c *Circuit) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = false
}

func (c *Circuit) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures, c.next, c.cause = 0, time.Time{}, nil
}

func (c *Circuit) failed(session uint64, took time.Duration, cause error) {
	var network *net.OpError
	unconnected := errors.As(cause, &network) && network.Op == "dial"
	c.mu.Lock()
	defer c.mu.Unlock()
	if unconnected || c.failures == 0 || session != c.last {
		c.failures, c.last = c.failures+1, session
	}
	c.slow, c.cause = took >= slow, cause
	if c.failures >= Trips {
		c.next = time.Now().Add(Pause)
	}
}

var seed = maphash.MakeSeed()

func hash(id string) uint64 { return maphash.String(seed, id) }

// call is one call of a store for one session. mu guards late.
type call struct {
	circuit *Circuit
	session uint64
	began   time.Time
	alarm   *time.Timer

	mu   sync.Mutex
	late bool // it was counted as failed at its deadline
}

// begin begins a call. If it is under way at the context's deadline it counts as failed, also if the
// store ignores its context.
func (c *Circuit) begin(ctx context.Context, id string) *call {
	k := &call{circuit: c, session: hash(id), began: time.Now()}
	if deadline, ok := ctx.Deadline(); ok {
		k.alarm = time.AfterFunc(time.Until(deadline), k.overdue)
	}
	return k
}

func (k *call) overdue() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.late = true
	k.fail(context.DeadlineExceeded)
}

// fail counts a failure, unless the caller's own deadline came sooner than a store needs.
func (k *call) fail(err error) {
	took := time.Since(k.began)
	if took < slow && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return
	}
	k.circuit.failed(k.session, took, err)
}

// end counts how the call went. It isn't called after a panic, which doesn't show whether the store
// responds.
func (k *call) end(ctx context.Context, err error) {
	k.stop()
	switch {
	case err == nil, failure.IsFinal(err):
		k.circuit.succeeded()
	case errors.Is(err, gsession.ErrorDisabled), ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
	default:
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.late {
			k.fail(err)
		}
	}
}

func (k *call) stop() {
	if k.alarm != nil {
		k.alarm.Stop()
	}
}
