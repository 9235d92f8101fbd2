package main

import (
	"fmt"
	"slices"
	"time"
)

// Ages are durations in nanoseconds, of which only the histogram, some quantiles and the
// largest are reported.
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

// Beyond is how many are older than the bound.
func (a *Ages) Beyond(bound time.Duration) (n int) {
	for _, age := range a.All {
		if age > int64(bound) {
			n++
		}
	}
	return n
}

// Histogram is the counts up to some edges, and up to the bound and beyond it.
func (a *Ages) Histogram(bound time.Duration) (lines []string) {
	edges := []time.Duration{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, bound, 1 << 62}
	low := time.Duration(-1)
	for _, edge := range edges {
		n := a.Beyond(low) - a.Beyond(edge)
		name := "up to " + edge.String()
		if edge > bound {
			name = "older than the bound"
		}
		lines = append(lines, fmt.Sprintf("%-24s %d", name, n))
		low = edge
	}
	return lines
}
