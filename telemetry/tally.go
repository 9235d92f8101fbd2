package telemetry

import (
	"sync/atomic"
)

// tallyStripes is a power of two.
const tallyStripes = 8

// Tally counts what happens in a layer. The zero value is ready. A count costs one atomic
// addition; callers with different stripes don't get in each other's way.
//
// All fields are atomics.
type Tally struct {
	stripes [tallyStripes]struct {
		n [numCounts]atomic.Int64
		_ [64]byte // no cache line is shared with the next stripe
	}
}

// Add counts one.
func (t *Tally) Add(c Count) { t.stripes[0].n[c].Add(1) }

// AddN counts several.
func (t *Tally) AddN(c Count, n int) { t.stripes[0].n[c].Add(int64(n)) }

// AddAt counts one in a stripe, which may be any number: a session's hash say.
func (t *Tally) AddAt(c Count, stripe uint64) { t.stripes[stripe%tallyStripes].n[c].Add(1) }

// Total is the count so far.
func (t *Tally) Total(c Count) (total int64) {
	for n := range t.stripes {
		total += t.stripes[n].n[c].Load()
	}
	return total
}

// Reading is a series of a layer at one moment: a count since the layer was made, or a state.
type Reading struct {
	Metric string  `json:"metric"`           // as in the table of the package
	Series string  `json:"series,omitempty"` // the value of its attribute, such as "hit"
	Value  float64 `json:"value"`
	State  bool    `json:"state,omitempty"` // may fall
}

// Readings returns the series that a layer has counted, and its states.
func Readings(l Reporting) (all []Reading) {
	for c := range numCounts {
		if n := l.Tally().Total(c); n != 0 {
			all = append(all, Reading{Metric: allSeries[c].metric, Series: allSeries[c].value, Value: float64(n)})
		}
	}
	l.Gauges(func(g Gauge, value float64) {
		all = append(all, Reading{Metric: gauges[g].metric, Value: value, State: true})
	})
	return all
}
