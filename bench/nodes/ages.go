package main

import (
	"fmt"
	"slices"
	"time"
)

// Ages are durations in nanoseconds, of which some quantiles and the largest are reported.
type Ages struct{ All []int64 }

func (a *Ages) Add(ns int64) { a.All = append(a.All, max(ns, 0)) }

// Quantile is the smallest age that at least the given share doesn't exceed.
func (a *Ages) Quantile(share float64) time.Duration {
	if len(a.All) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(a.All))
	return time.Duration(sorted[min(int(share*float64(len(sorted))), len(sorted)-1)])
}

// quantiles are the p50, the p99 and the p99.9.
func (a *Ages) quantiles() string {
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v", round(a.Quantile(0.5)), round(a.Quantile(0.99)), round(a.Quantile(0.999)))
}

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
