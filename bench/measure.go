package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/gf-strata/strata/bench/link"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
)

// measure runs a group. Rounds take turns between subjects, in another order each time.
func measure(ctx context.Context, o Options, g group, b *budget, run *report.Run) error {
	takes := func(s peers.Subject) bool {
		return slices.ContainsFunc(g.workloads, func(w workload) bool { return w.takes(s) })
	}
	subjects := slices.DeleteFunc(slices.Clone(o.Subjects), func(s peers.Subject) bool { return !takes(s) })
	f, err := newFleet(ctx, o, g, subjects)
	if err != nil {
		return err
	}
	defer f.close()
	b.began()
	reached := ""
	for _, w := range g.workloads {
		units := slices.DeleteFunc(slices.Clone(f.units), func(u *unit) bool { return !w.takes(u.subject) })
		setup, rounds := g.weight(w, subjects, g.most)
		until := b.share(time.Now(), setup, rounds)
		for _, u := range units {
			o.Progress.at(w.title, u.subject.Name)
			if err := f.prepare(u, g, w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			o.Progress.step(1)
		}
		if g.roundTrip > 0 && reached == "" {
			if reached, err = calibrate(f, g, w, run); err != nil {
				return err
			}
		}
		turns := 0
		for last := time.Duration(0); g.fits(turns, time.Now(), until, last); turns++ {
			began := time.Now()
			for _, n := range rand.Perm(len(units)) {
				o.Progress.at(w.title, units[n].subject.Name)
				if err := f.measure(units[n], g, w, turns); err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				o.Progress.step(1)
			}
			last = time.Since(began)
		}
		o.Progress.step((g.most - turns) * len(units))
		for _, u := range units {
			if g.http {
				if err := f.sweep(u); err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
			}
		}
		run.Workloads = append(run.Workloads, result(g, w, units, turns, reached))
	}
	return nil
}

// slow is from which round-trip time on a link isn't what its group is called.
const slow = 1500 * time.Microsecond

// calibrate measures the round-trip time that is reached with as many connections as a
// round has.
func calibrate(f *fleet, g group, w workload, run *report.Run) (string, error) {
	for _, u := range f.units {
		if u.link == "" {
			continue
		}
		f.quiet()
		if err := f.distance(u, g.roundTrip); err != nil {
			return "", err
		}
		times, err := link.Reached(u.link, w.job.Workers, 2*g.round)
		if err != nil {
			return "", err
		}
		p50, p99 := times.Quantile(0.5), times.Quantile(0.99)
		text := fmt.Sprintf(" At the start of the group, %d connections that asked without a break reached a round-trip time of %v (p50), %v (p99).",
			w.job.Workers, p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond))
		if p50 > slow {
			run.Warnings = append(run.Warnings, fmt.Sprintf("The link of 1 ms reached a round-trip time of %v (p50) only, as the machine was busy: "+
				"the figures of the group “%s” are of a longer way than they say.", p50.Round(10*time.Microsecond), g.title))
		}
		return text, nil
	}
	return " ", nil
}

// result is what a workload's rounds say.
func result(g group, w workload, units []*unit, turns int, reached string) report.Workload {
	r := report.Workload{Name: w.name, Title: w.title, Group: g.title, Turns: turns,
		Setup: fmt.Sprintf("%s%s %d rounds of %v.", w.setup, strings.TrimRight(reached, " "), turns, g.round)}
	if w.job.Once() {
		r.Setup = fmt.Sprintf("%s %d rounds.", w.setup, turns)
	}
	var ours []worker.Round
	for _, u := range units {
		if u.subject.Name == report.Ours {
			ours = u.rounds
		}
	}
	for _, round := range ours {
		r.Distinct = max(r.Distinct, round.Distinct)
	}
	for _, u := range units {
		r.Entries = append(r.Entries, report.NewEntry(u.subject.Name, u.rounds, ours))
	}
	return r
}
