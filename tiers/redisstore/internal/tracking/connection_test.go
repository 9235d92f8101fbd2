package tracking_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// A pong that is late vouches from when its ping was sent, not from when it came.
func TestWatchVouchesFromThePing(t *testing.T) {
	const lease = time.Second
	var (
		mu     sync.Mutex
		arrive time.Time // of the last ping
	)
	client := fake(t, func(command []string) string {
		switch command[0] {
		case "hello":
			return redistest.Hello3
		case "ping":
			mu.Lock()
			arrive = time.Now()
			mu.Unlock()
			<-time.After(100 * time.Millisecond)
		}
		return redistest.Redis6(command)
	})
	w, l := watch(t, client, "p:", tracking.Lease(lease))
	strict := &strictListener{check: func(until time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if late := until.Sub(arrive.Add(lease)); late > 0 {
			t.Errorf("vouched for %v more than the lease", late)
		}
	}}
	w.Subscribe(strict)
	l.await(t, "some pongs", func() bool { return l.vouches > 4 })
}

type strictListener struct{ check func(time.Time) }

func (s *strictListener) Invalidate(string)          {}
func (s *strictListener) InvalidateAll()             {}
func (s *strictListener) Unsupported(error)          {}
func (s *strictListener) ValidUntil(until time.Time) { s.check(until) }

// go-redis mends a PubSub's connection by itself, and invalidations of meanwhile
// would be missed.
func TestWatchDoesntConnectUnseen(t *testing.T) {
	var (
		tracked atomic.Int64
		end     atomic.Bool
	)
	client := fake(t, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "client" && command[1] == "tracking":
			tracked.Add(1)
		case command[0] == "ping" && end.CompareAndSwap(true, false):
			return "" // the connection ends
		}
		return redistest.Redis6(command)
	})
	_, l := watch(t, client, "p:")
	for range 5 {
		l.standing(t)
		before := l.count()
		end.Store(true)
		l.recovers(t, before)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := int(tracked.Load()); n > l.missed+2 {
		t.Errorf("%d connections, of which the listener was notified %d times", n, l.missed)
	}
}

// Without pongs nothing is vouched for, though the server replies to all else.
func TestWatchNeedsPongs(t *testing.T) {
	var mute atomic.Bool
	client := fake(t, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "ping" && mute.Load():
			return redistest.Silence
		}
		return redistest.Redis6(command)
	})
	_, l := watch(t, client, "p:", tracking.Lease(100*time.Millisecond))
	l.standing(t)
	mute.Store(true)
	l.revoked(t)
	before := l.count()
	mute.Store(false)
	l.recovers(t, before)
}

// Without an answer to who the masters are nobody vouches, though pongs come.
func TestWatchNeedsTheTopology(t *testing.T) {
	var mute atomic.Bool
	client := fake(t, func(command []string) string {
		if command[0] == "hello" {
			if mute.Load() {
				return ""
			}
			return redistest.Hello3
		}
		return redistest.Redis6(command)
	})
	_, l := watch(t, client, "p:", tracking.Lease(100*time.Millisecond))
	l.standing(t)
	mute.Store(true) // what is connected asks nothing with HELLO but the role
	l.revoked(t)
	before := l.count()
	mute.Store(false)
	l.recovers(t, before)
}

// A message that is neither an invalidation nor a pong to a ping ends the connection.
func TestWatchEndsOnWhatItDoesntKnow(t *testing.T) {
	for name, odd := range map[string]string{
		"another pong":       redistest.Bulk("x"), // in place of the right one
		"an error":           "-BUSY a script runs\r\n",
		"a message":          ">3\r\n" + redistest.Bulk("message") + redistest.Bulk("a") + redistest.Bulk("b"),
		"no list":            ">2\r\n" + redistest.Bulk("invalidate") + ":1\r\n",
		"a list of numbers":  ">2\r\n" + redistest.Bulk("invalidate") + redistest.Array(":1\r\n"),
		"more than one list": ">3\r\n" + redistest.Bulk("invalidate") + redistest.Array() + redistest.Array(),
	} {
		t.Run(name, func(t *testing.T) {
			var send atomic.Bool
			client := fake(t, func(command []string) string {
				switch {
				case command[0] == "hello":
					return redistest.Hello3
				case command[0] == "ping" && send.CompareAndSwap(true, false):
					if name == "another pong" {
						return odd
					}
					return odd + redistest.Redis6(command)
				}
				return redistest.Redis6(command)
			})
			_, l := watch(t, client, "p:", tracking.Lease(100*time.Millisecond))
			l.standing(t)
			before := l.count()
			send.Store(true)
			l.recovers(t, before)
		})
	}
}
