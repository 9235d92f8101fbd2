package main

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stall is how late the reply to a PING was that should take no time, on a node's own way
// to a server, from the moment when it was due. A busy machine adds as much to everything
// that the node receives.
type Stall struct{ At, For int64 }

const (
	// stallEvery is how often it is asked.
	stallEvery = 50 * time.Millisecond

	// stallMost is the worst stall with which a quiet time is judged: beyond, the machine
	// is too slow to judge.
	stallMost = 100 * time.Millisecond

	// quietBound is the age that a read may have while nothing goes wrong: an invalidation's
	// way, a read of the store at most (layer's documentation has 100 ms), and slack.
	quietBound = 150 * time.Millisecond
)

// meter measures stalls. mu guards its fields; stop ends it.
type meter struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	stalls []Stall
}

func (n *node) meter() *meter {
	ctx, stop := context.WithCancel(context.Background())
	m := &meter{stop: stop}
	for _, addr := range n.Server.Addrs {
		m.all.Go(func() { m.ask(ctx, n.Server, addr) })
	}
	return m
}

func (m *meter) ask(ctx context.Context, server Server, addr string) {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, Dialer: server.dial})
	defer func() { _ = client.Close() }()
	for due := now(); ; due = max(due+int64(stallEvery), now()) {
		timer := time.NewTimer(time.Duration(due - now()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		_ = client.Ping(ctx).Err()
		m.mu.Lock()
		m.stalls = append(m.stalls, Stall{due, now() - due})
		m.mu.Unlock()
	}
}

func (m *meter) halt() []Stall {
	m.stop()
	m.all.Wait()
	return m.stalls
}

// Quiet is a time in which nothing goes wrong, and the worst stall in it.
type Quiet struct{ From, To, Stall int64 }

// judged reports whether the machine was fast enough.
func (q *Quiet) judged() bool { return q.To > 0 && q.Stall <= int64(stallMost) }

// late reports whether a read in the quiet time missed what it should have shown.
func (q *Quiet) late(w, r *Record) bool {
	return q.judged() && w.Acked >= q.From && r.Start <= q.To && r.Start-w.Acked > int64(quietBound)+2*q.Stall
}

// worst notes the worst of the stalls that were in the quiet time.
func (q *Quiet) worst(stalls []Stall) {
	for _, s := range stalls {
		if s.At <= q.To && s.At+s.For >= q.From {
			q.Stall = max(q.Stall, s.For)
		}
	}
	if len(stalls) == 0 {
		q.Stall = math.MaxInt64
	}
}
