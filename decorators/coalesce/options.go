package coalesce

import (
	"sync/atomic"
	"time"
)

// Options set a Storage up. Package layer has a constructor for each, which documents and checks it.
type Options struct {
	WriteTimeout    time.Duration
	WriteBehind     time.Duration // 0: synchronous
	MaxPending      int
	MaxPendingBytes int64
	OnGiveUp        func(GiveUp) // nil: log only
	Journal         string       // "" for none
	SlideEvery      float64      // of the ttl
}

// Option sets one of them.
type Option = func(*Options)

// optionsOf are the defaults, but for what opts set.
func optionsOf(opts []Option) Options {
	o := Options{WriteTimeout: 5 * time.Second, MaxPending: 100_000, MaxPendingBytes: 64 << 20, SlideEvery: 0.1}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Coalesced is nil; pass what a constructor returns, or leave it out")
		}
		opt(&o)
	}
	return o
}

// duration is an option that may change while the layer runs. It is atomic.
type duration struct{ d atomic.Int64 }

func (d *duration) get() time.Duration { return time.Duration(d.d.Load()) }

func (d *duration) set(to time.Duration) { d.d.Store(int64(to)) }

// Change sets WriteTimeout, WriteBehind, MaxPending and MaxPendingBytes while the layer runs, those
// that aren't given to their defaults. Other options stay as they are, and so does whether it
// writes behind. Changes that are pending already keep their moment.
func (s *Storage) Change(opts ...Option) {
	o := optionsOf(opts)
	if (o.WriteBehind > 0) != (s.interval.get() > 0) {
		o.WriteBehind = s.interval.get()
	}
	s.limit(o)
}

func (s *Storage) limit(o Options) {
	s.interval.set(o.WriteBehind)
	s.slides.timeout.set(o.WriteTimeout)
	s.queues.carrier.timeout.set(o.WriteTimeout)
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	s.queues.schedule.grain = grainOf(o.WriteBehind)
	s.queues.bounds.maxSessions, s.queues.bounds.maxBytes = o.MaxPending, o.MaxPendingBytes
	s.queues.bounds.next()
}
