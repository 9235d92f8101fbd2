package coalesce

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Option sets up the merging of writes. An impossible value panics when the option
// is made.
type Option func(*options)

type options struct {
	writeTimeout time.Duration
	interval     time.Duration // 0: synchronous
	maxPending   int
	maxBytes     int64
	giveUp       func(GiveUp)
	journal      string
	slideEvery   float64 // of the ttl
}

func defaults() options {
	return options{writeTimeout: 5 * time.Second, maxPending: 100_000, maxBytes: 64 << 20, slideEvery: 0.1}
}

func (o options) check() {
	if o.journal != "" && o.interval == 0 {
		panic("strata: layer.Journal keeps what layer.WriteBehind delays; add layer.WriteBehind(interval), or leave the journal out")
	}
}

// WriteTimeout is how long a caller waits for its commit at most; 5 s unless set. The
// store is given that long as well, if it heeds its context.
func WriteTimeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteTimeout(%v) leaves no time to write; pass a positive duration", d))
	}
	return func(o *options) { o.writeTimeout = d }
}

// WriteBehind has SetSession return at once; what has changed is committed within the
// interval.
func WriteBehind(interval time.Duration) Option {
	if interval <= 0 {
		panic(fmt.Sprintf("strata: layer.WriteBehind(%v) delays nothing; pass a positive interval, or leave it out to write synchronously", interval))
	}
	return func(o *options) { o.interval = interval }
}

// MaxPending bounds the sessions whose changes aren't in the store yet, and the removals
// beside them; 100,000 unless set.
func MaxPending(n int) Option {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxPending(%d) has no room for a change; pass a positive number of sessions", n))
	}
	return func(o *options) { o.maxPending = n }
}

// MaxPendingBytes bounds their size in memory, in bytes; 64 MiB unless set.
func MaxPendingBytes(n int64) Option {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxPendingBytes(%d) has no room for a change; pass a positive number of bytes", n))
	}
	return func(o *options) { o.maxBytes = n }
}

// OnGiveUp receives changes that were accepted and can't be delivered, one report at a
// time, on a goroutine of its own. Close called from it is refused.
func OnGiveUp(report func(GiveUp)) Option {
	if report == nil {
		panic("strata: layer.OnGiveUp needs a function; leave the option out to have give-ups in the log only")
	}
	return func(o *options) { o.giveUp = report }
}

// Journal keeps what is pending in a directory of this process's own.
func Journal(dir string) Option {
	if dir == "" {
		panic("strata: layer.Journal needs a directory; pass one that outlives the process and that no other process uses")
	}
	return func(o *options) { o.journal = dir }
}

// SlideEvery is the part of a session's ttl for which its expiry isn't slid again; 0.1
// unless set. Slides and commits set so much more than the ttl, by which an idle session may
// outlive it. 0 slides with every request.
func SlideEvery(fraction float64) Option {
	if !(fraction >= 0 && fraction <= 1) {
		panic(fmt.Sprintf("strata: layer.SlideEvery(%v) is no part of a ttl; pass 0 to 1, or leave it out for 0.1", fraction))
	}
	return func(o *options) { o.slideEvery = fraction }
}

// duration is an option that may change while the layer runs. It is atomic.
type duration struct{ d atomic.Int64 }

func (d *duration) get() time.Duration { return time.Duration(d.d.Load()) }

func (d *duration) set(to time.Duration) { d.d.Store(int64(to)) }

// Change sets WriteTimeout, WriteBehind, MaxPending and MaxPendingBytes while the layer runs, those
// that aren't given to their defaults. Other options stay as they are, and so does whether it
// writes behind. What is pending already keeps its moment.
func (s *Storage) Change(opts ...Option) {
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	if (o.interval > 0) != (s.interval.get() > 0) {
		o.interval = s.interval.get()
	}
	s.limit(o)
}

func (s *Storage) limit(o options) {
	s.interval.set(o.interval)
	s.slides.timeout.set(o.writeTimeout)
	s.queues.carrier.timeout.set(o.writeTimeout)
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	s.queues.schedule.grain = grainOf(o.interval)
	s.queues.bounds.maxSessions, s.queues.bounds.maxBytes = o.maxPending, o.maxBytes
	s.queues.bounds.next()
}
