package local

import (
	"time"

	"github.com/gf-strata/strata/tiers"
)

// Options set a Storage up. Package layer has a constructor for each but GuardSlots, which documents and checks it.
// MaxBytes, MaxStale, ServeStale and LoadTimeout may change while the tier runs.
type Options struct {
	MaxBytes    int64
	MaxStale    time.Duration
	ServeStale  time.Duration // 0: off
	LoadTimeout time.Duration

	Exclusive     bool
	GuardSlots    int // 0: as MaxBytes needs
	Invalidations []tiers.InvalidationSource
	Audited       float64 // of the hits
	WarmRestart   string  // the file, "" for none
}

// Option sets one of them.
type Option = func(*Options)

// optionsOf returns the defaults with opts applied.
func optionsOf(opts []Option) Options {
	o := Options{MaxBytes: 64 << 20, MaxStale: time.Second, LoadTimeout: time.Second}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Local is nil; pass what a constructor returns, or leave it out")
		}
		opt(&o)
	}
	return o
}
