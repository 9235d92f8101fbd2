// Package stats has the percentiles of a round and the medians over rounds.
package stats

import (
	"math/bits"
	"time"
)

// sub is how many buckets a doubling has: a percentile is right within 1/sub.
const sub = 32

// Histogram counts durations of up to an hour, with an error of 3 %. Its zero value is
// empty. It is one goroutine's; Merge after they have ended.
type Histogram struct {
	Counts []uint32 // by bucket, as far as used
	N      uint64
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	n := bucket(uint64(max(d, 0)))
	for n >= len(h.Counts) {
		h.Counts = append(h.Counts, make([]uint32, 4*sub)...)
	}
	h.Counts[n]++
	h.N++
}

// Merge adds what another one has counted.
func (h *Histogram) Merge(other Histogram) {
	if missing := len(other.Counts) - len(h.Counts); missing > 0 {
		h.Counts = append(h.Counts, make([]uint32, missing)...)
	}
	for n, count := range other.Counts {
		h.Counts[n] += count
	}
	h.N += other.N
}

// Quantile is the duration that the part q of all, 0 to 1, does not exceed; 0 where
// nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.N == 0 {
		return 0
	}
	rank := min(uint64(q*float64(h.N)), h.N-1)
	for n, count := range h.Counts {
		if uint64(count) > rank {
			return time.Duration(middle(n))
		}
		rank -= uint64(count)
	}
	return 0
}

// bucket is v itself below 2*sub, and then one of sub for each doubling.
func bucket(v uint64) int {
	if v < 2*sub {
		return int(v)
	}
	shift := bits.Len64(v) - bits.Len64(sub)
	return shift*sub + int(v>>shift)
}

// middle is the value in the middle of a bucket.
func middle(n int) uint64 {
	if n < 2*sub {
		return uint64(n)
	}
	shift := n/sub - 1
	low := uint64(n-shift*sub) << shift
	return low + 1<<shift/2
}
