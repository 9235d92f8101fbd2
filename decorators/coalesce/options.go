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

// optionsOf returns the defaults with opts applied.
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
