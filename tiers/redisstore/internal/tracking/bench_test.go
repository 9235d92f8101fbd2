package tracking_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// BenchmarkWatch is what an invalidation costs from the socket to the listener. At
// 100,000 a second, 100 ns are a hundredth of a core.
func BenchmarkWatch(b *testing.B) {
	const burst = 100_000
	blast := strings.Repeat(">2\r\n"+redistest.Bulk("invalidate")+redistest.Array(redistest.Bulk("gsession:"+strings.Repeat("x", 32))), burst)
	var pings, asked atomic.Int64
	client := fake(b, func(command []string) string {
		switch {
		case command[0] == "hello":
			return redistest.Hello3
		case command[0] == "ping" && pings.Add(1) > 1 && asked.CompareAndSwap(1, 0):
			return blast + redistest.Redis6(command)
		}
		return redistest.Redis6(command)
	})
	w := tracking.Start(client, "gsession:", tracking.Lease(2*time.Second))
	defer func() { _ = w.Close(ctx) }()
	l := &stopwatch{burst: burst, done: make(chan time.Duration, 1), up: make(chan struct{}, 1)}
	w.Subscribe(l)
	<-l.up
	var took time.Duration
	var bursts int
	for b.Loop() {
		asked.Store(1)
		took += <-l.done
		bursts++
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(bursts*burst), "ns/invalidation")
}

// stopwatch times bursts. Its fields are for the watcher's calls, one at a time.
type stopwatch struct {
	burst, seen int
	began       time.Time
	done        chan time.Duration
	up          chan struct{}
}

func (s *stopwatch) Invalidate(string) {
	if s.seen == 0 {
		s.began = time.Now()
	}
	if s.seen++; s.seen == s.burst {
		s.seen = 0
		s.done <- time.Since(s.began)
	}
}
func (s *stopwatch) InvalidateAll() {}
func (s *stopwatch) ValidUntil(time.Time) {
	select {
	case s.up <- struct{}{}:
	default:
	}
}
func (s *stopwatch) Unsupported(error) {}
