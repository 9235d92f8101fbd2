package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
)

// Options say what to run.
type Options struct {
	Quick    bool
	Out      string // where to write; empty writes nothing
	Only     string // a workload or a group; empty for all
	Cached   int    // sessions that fill a cache; 0 for the plan's
	Module   string // the folder of subjects that need a newer Go; empty for none
	Subjects []peers.Subject
	Progress *progress

	newer string // the program of the module
}

// program is what runs a subject.
func (o Options) program(s peers.Subject) string {
	if s.Open == nil && s.Name != "" {
		return o.newer
	}
	self, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return self
}

// Run measures everything. A wrong answer of any subject is an error.
func Run(ctx context.Context, o Options) (*report.Run, error) {
	s := full
	if o.Quick {
		s = quick
	}
	if o.Cached > 0 {
		s.memory = o.Cached
	}
	began := time.Now()
	run := &report.Run{When: began.UTC().Truncate(time.Second), Quick: o.Quick, Machine: machine(), Live: s.live,
		CacheTTL: cacheTTL.Seconds(), ReadRate: worker.ReadRate}
	if o.Module != "" {
		o.Progress.say("building " + o.Module)
		newer, remove, err := build(ctx, o.Module)
		defer remove()
		switch {
		case errors.Is(err, errOlder):
			run.Missing = append(run.Missing, err.Error())
		case err != nil:
			return nil, err
		default:
			o.newer = newer
			o.Subjects = insert(o.Subjects, peers.GoRedisCache)
		}
	}
	groups := choose(plan(s), o.Only)
	memory := o.Only == "" || o.Only == "memory"
	if len(groups) == 0 && !memory {
		return nil, errNothing
	}
	o.Progress.begin(steps(groups, o.Subjects, memory))
	defer o.Progress.end()
	for _, subject := range o.Subjects {
		run.Subjects = append(run.Subjects, report.Subject{Name: subject.Name, Setup: subject.Setup, Strata: subject.Strata, Floor: subject.Floor})
	}
	part := func(title string, f func() error) error {
		began := time.Now()
		err := f()
		run.Parts = append(run.Parts, report.Part{Title: title, Took: time.Since(began).Seconds()})
		return err
	}
	err := part("probes", func() error { return probe(ctx, o, run) })
	if err == nil && memory { // first: it takes what it takes, and the rounds fit into the rest
		err = part("Full caches", func() error { return weigh(ctx, o, s, run) })
	}
	b := newBudget(o, began, groups)
	for _, g := range groups {
		if err == nil {
			err = part(g.title, func() error { return measure(ctx, o, g, b, run) })
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	run.Took = time.Since(began).Seconds()
	run.Judge()
	return run, err
}

// insert puts a subject after the other client-side cache, or last.
func insert(subjects []peers.Subject, s peers.Subject) []peers.Subject {
	at := slices.IndexFunc(subjects, func(s peers.Subject) bool { return s.Name == "rueidis DoCache" }) + 1
	if at == 0 {
		at = len(subjects)
	}
	return slices.Insert(slices.Clone(subjects), at, s)
}

// choose leaves out what wasn't asked for.
func choose(groups []group, only string) (chosen []group) {
	for _, g := range groups {
		if only != "" && g.name != only {
			g.workloads = slices.DeleteFunc(g.workloads, func(w workload) bool { return w.name != only })
			if len(g.workloads) > 0 {
				g.workloads[0].fresh = true
			}
		}
		if len(g.workloads) > 0 {
			chosen = append(chosen, g)
		}
	}
	return chosen
}

// steps is how many the progress bar has, at most.
func steps(groups []group, subjects []peers.Subject, memory bool) (n int) {
	for _, s := range subjects {
		for _, g := range groups {
			for _, w := range g.workloads {
				if w.takes(s) {
					n += g.most + 1
				}
			}
		}
		if memory && weighed(s) {
			n += memorySteps
		}
	}
	return n
}

// probe finds out what each subject keeps.
func probe(ctx context.Context, o Options, run *report.Run) error {
	subjects := slices.DeleteFunc(slices.Clone(o.Subjects), func(s peers.Subject) bool { return s.Floor })
	f, err := newFleet(ctx, o, group{}, subjects)
	if err != nil {
		return err
	}
	defer f.close()
	for _, u := range f.units {
		o.Progress.at("probes", u.subject.Name)
		answer, err := u.process.ask(f.ask(u, worker.AskProbe))
		if err != nil {
			return err
		}
		for n := range run.Subjects {
			if run.Subjects[n].Name == u.subject.Name {
				run.Subjects[n].Keeps = answer.Keeps
			}
		}
	}
	return nil
}
