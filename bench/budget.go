package main

import (
	"slices"
	"time"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
)

// budget divides a time among the rounds of workloads, by what they weigh. The time that one of them
// leaves, or takes too much, is added to those that follow, or taken from them. Without an end there is time for
// everything. It belongs to the goroutine of the bench.
type budget struct {
	end    time.Time
	setups time.Duration // what there is to be set up yet takes
	rounds time.Duration // what the most rounds of all that is still to come would take
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
		b.setups += started
		for _, w := range g.workloads {
			setup, rounds := g.weight(w, o.Subjects, g.most)
			b.setups += setup
			b.rounds += rounds
		}
	}
	return b
}

// began takes note that the processes of a group have started.
func (b *budget) began() { b.setups -= started }

// share returns until when a workload may run that takes so much to be set up and for its
// most rounds, and takes both off.
func (b *budget) share(now time.Time, setup, rounds time.Duration) time.Time {
	if b.end.IsZero() {
		return b.end
	}
	part := float64(rounds) / float64(max(b.rounds, rounds, 1))
	free := max(0, b.end.Sub(now)-b.setups)
	b.setups -= setup
	b.rounds -= rounds
	return now.Add(setup + time.Duration(part*float64(free)))
}

// fits reports whether another turn of all subjects is to be, after so many, of which the
// last one took so long. until has no end where it is zero.
func (g group) fits(turns int, now, until time.Time, last time.Duration) bool {
	return turns < g.least || turns < g.most && (until.IsZero() || !now.Add(last).After(until))
}

// between is what is asked before and after a round, and the wait until all is quiet.
const between = 40 * time.Millisecond

// weight is what a workload takes to be set up, and for so many rounds, about.
func (g group) weight(w workload, subjects []peers.Subject, turns int) (setup, rounds time.Duration) {
	for _, s := range subjects {
		if w.takes(s) {
			setup += g.setup
			rounds += time.Duration(turns) * (g.round + between)
		}
	}
	return setup, rounds
}

// started is what the processes and servers of a group take to begin and to end, about.
const started = 5 * time.Second

// takes is what a run takes with the fewest rounds, about, and how much more with the most.
func (s scale) takes(subjects []peers.Subject) (least, more time.Duration) {
	for _, g := range plan(s) {
		least += started
		for _, w := range g.workloads {
			setup, few := g.weight(w, subjects, g.least)
			_, many := g.weight(w, subjects, g.most)
			least += setup + few
			more += many - few
		}
	}
	for _, subject := range subjects {
		if weighed(subject) {
			least += s.memoryTakes
		}
	}
	return least, more
}

// weighed leaves out the other chains of Strata, whose cache is the first one's.
func weighed(s peers.Subject) bool {
	return s.Memory && !s.Floor && !slices.Contains([]string{report.Behind, report.Again, report.Sampled}, s.Name)
}
