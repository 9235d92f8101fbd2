package telemetry

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type histogramDef struct {
	description string
	bounds      []time.Duration
}

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// The bounds begin below what is measured on one machine: some 2 µs for GoFrame's memory
// store, 40 for a Redis, 100 for an invalidation from it. They end where time-outs do.
var histograms = map[string]histogramDef{
	storeDuration: {"Time that the store took for an operation.", []time.Duration{
		10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, time.Second, 2500 * ms, 5 * time.Second, 10 * time.Second,
	}},
	invalidationDelay: {"Time from the end of a write until the store's invalidation for it arrived.", []time.Duration{
		10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, time.Second,
	}},
	auditAge: {"How long a session that differed from the store had been in memory.", []time.Duration{
		ms, 5 * ms, 10 * ms, 50 * ms, 100 * ms, 500 * ms, time.Second, 5 * time.Second, 10 * time.Second,
		time.Minute, 10 * time.Minute, time.Hour,
	}},
}

func (h histogramDef) seconds() (bounds []float64) {
	for _, b := range h.bounds {
		bounds = append(bounds, b.Seconds())
	}
	return bounds
}

// Delay is a histogram of how long one kind of operation took in a chain.
type Delay struct {
	Metric string    `json:"metric"`           // as in the table of the package
	Series string    `json:"series,omitempty"` // the operation of the store
	Bounds []float64 `json:"bounds"`           // in seconds; a bucket includes its bound
	Counts []int64   `json:"counts"`           // one more than bounds, for what took longer than the last
}

// delays are those of one chain. They are kept from the first call of all, so that a chain without a
// status page pays nothing. A nil one keeps none.
//
// wanted is atomic; mu guards counts.
type delays struct {
	wanted atomic.Bool
	mu     sync.Mutex
	counts map[[2]string][]int64 // by metric and series
}

func (d *delays) kept() bool { return d != nil && d.wanted.Load() }

func (d *delays) record(metric, series string, took time.Duration) {
	if !d.kept() {
		return
	}
	bounds := histograms[metric].bounds
	at := sort.Search(len(bounds), func(n int) bool { return took <= bounds[n] })
	d.mu.Lock()
	defer d.mu.Unlock()
	key := [2]string{metric, series}
	if d.counts == nil {
		d.counts = map[[2]string][]int64{}
	}
	if d.counts[key] == nil {
		d.counts[key] = make([]int64, len(bounds)+1)
	}
	d.counts[key][at]++
}

// all are sorted, so that a page shows them in one order.
func (d *delays) all() (all []Delay) {
	if d == nil {
		return nil
	}
	d.wanted.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, counts := range d.counts {
		all = append(all, Delay{Metric: key[0], Series: key[1], Bounds: histograms[key[0]].seconds(), Counts: slices.Clone(counts)})
	}
	slices.SortFunc(all, func(a, b Delay) int { return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Series, b.Series)) })
	return all
}
