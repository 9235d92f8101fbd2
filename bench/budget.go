package main

import (
	"slices"
	"time"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
)

// budget divides a time among workloads, by what they weigh. What one of them leaves, or
// takes too much, is its followers'. Without an end there is time for everything. It
// belongs to the goroutine of the bench.
type budget struct {
	end  time.Time
	left time.Duration // the weight of what is still to come
}

// newBudget has rounds fit into what is left of a run's time. A quick run, or a part of
// one, has the time that it needs.
func newBudget(o Options, began time.Time, groups []group) *budget {
	b := &budget{}
	if o.Quick || o.Only != "" {
		return b
	}
	b.end = began.Add(budgeted)
	for _, g := range groups {
		for _, w := range g.workloads {
			b.left += g.weight(w, o.Subjects, g.most)
		}
	}
	return b
}

// share answers until when a workload may run, and takes its weight off.
func (b *budget) share(now time.Time, weight time.Duration) time.Time {
	if b.end.IsZero() {
		return b.end
	}
	part := float64(weight) / float64(max(b.left, weight, 1))
	b.left -= weight
	return now.Add(time.Duration(part * float64(max(0, b.end.Sub(now)))))
}

// fits reports whether another turn of all subjects is to be, after so many, of which the
// last one took so long. until has no end where it is zero.
func (g group) fits(turns int, now, until time.Time, last time.Duration) bool {
	return turns < g.least || turns < g.most && (until.IsZero() || !now.Add(last).After(until))
}

// between is what is asked before and after a round, and the wait until all is quiet.
const between = 40 * time.Millisecond

// weight is what a workload takes with so many rounds, about.
func (g group) weight(w workload, subjects []peers.Subject, rounds int) (sum time.Duration) {
	for _, s := range subjects {
		if w.takes(s) {
			sum += g.setup + time.Duration(rounds)*(g.round+between)
		}
	}
	return sum
}

// started is what the processes and servers of a group take to begin and to end, about.
const started = 5 * time.Second

// takes is what a run takes at the least, about, and the weight of all its workloads.
func (s scale) takes(subjects []peers.Subject) (least, weight time.Duration) {
	for _, g := range plan(s) {
		least += started
		for _, w := range g.workloads {
			least += g.weight(w, subjects, g.least)
			weight += g.weight(w, subjects, g.most)
		}
	}
	for _, subject := range subjects {
		if weighed(subject) {
			least += s.memoryTakes
		}
	}
	return least, weight
}

// weighed leaves out the other chains of Strata, whose cache is the first one's.
func weighed(s peers.Subject) bool {
	return s.Memory && !s.Floor && !slices.Contains([]string{report.Behind, report.Again, report.Sampled}, s.Name)
}
