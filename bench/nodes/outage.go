package main

import (
	"math/rand/v2"
	"time"
)

// Timing is how long a request took, and whether the store failed it.
type Timing struct {
	At, For int64
	Failed  bool
}

// Outage is a time in which the servers didn't reply, or refused writes, and no other
// fault came: from when on every node's chain must know that, until it ended, and until when
// nothing else went wrong.
type Outage struct{ Known, Ended, Until int64 }

const (
	// outageKnown is how long a chain may take to know: a load's timeout, and one more for
	// those that began with it.
	outageKnown = 2500 * time.Millisecond
	outageLong  = 4 * time.Second

	// outageAfter is how long nothing goes wrong after one.
	outageAfter = 2 * time.Second
)

// The bounds that are expected of an outage.
const (
	mostOutage   = 50 * time.Millisecond // p99 of a request, once the chain knows
	mostRecovery = time.Second           // until the last request that failed began, after the server was back
)

// outage has the server hang for long enough that chains must know.
func outage(w *world, _ *rand.Rand, _ int) *Loss {
	w.outage(w.servers[0].Pause, w.servers[0].Resume)
	return nil
}

// full has the server answer reads and refuse writes with OOM for as long.
func full(w *world, _ *rand.Rand, _ int) *Loss {
	w.outage(func() { w.setAll("maxmemory", "1") }, func() { w.setAll("maxmemory", "0") })
	return nil
}

func (w *world) outage(begin, end func()) {
	o := Outage{Known: now() + int64(outageKnown)}
	begin()
	wait(outageLong)
	end()
	o.Ended = now()
	wait(outageAfter)
	o.Until = now()
	w.outages = append(w.outages, o)
}

// judgeOutages adds the durations of the requests that began while a chain knew, and how long
// after the server was back the last one began that failed.
func (r *Report) judgeOutages(outages []Outage, timings []Timing) {
	for _, o := range outages {
		last := int64(0)
		for _, t := range timings {
			if t.At >= o.Known && t.At < o.Ended {
				r.Outages.Add(t.For)
			}
			if t.Failed && t.At >= o.Ended && t.At < o.Until {
				last = max(last, t.At-o.Ended)
			}
		}
		r.Recoveries.Add(last)
	}
}

// timed notes a request that began then; it is deferred.
func (c *client) timed(began int64, failed *bool) {
	c.timings = append(c.timings, Timing{began, now() - began, *failed})
}
