package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
	"github.com/gf-strata/strata/internal/redistest"
)

// Options say what to run.
type Options struct {
	Quick    bool
	Out      string // where to write; empty with Quick writes nothing
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
	run := &report.Run{When: began.UTC().Truncate(time.Second), Quick: o.Quick, Machine: machine()}
	if o.Module != "" {
		o.Progress.say("building " + o.Module)
		newer, remove, err := build(ctx, o.Module)
		defer remove()
		if err != nil {
			run.Missing = append(run.Missing, err.Error())
		} else {
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
	err := probe(ctx, o, run)
	for _, g := range groups {
		if err == nil {
			err = measure(ctx, o, g, run)
		}
	}
	if err == nil && memory {
		err = weigh(ctx, o, s, run)
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

// steps is how many the progress bar has.
func steps(groups []group, subjects []peers.Subject, memory bool) (n int) {
	for _, s := range subjects {
		for _, g := range groups {
			for _, w := range g.workloads {
				if w.takes(s) {
					n += g.rounds + 1
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
		answer, err := u.process.ask(u.ask(worker.AskProbe))
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

// measure runs a group. Rounds take turns between subjects, and each begins with another.
func measure(ctx context.Context, o Options, g group, run *report.Run) error {
	takes := func(s peers.Subject) bool {
		return slices.ContainsFunc(g.workloads, func(w workload) bool { return w.takes(s) })
	}
	subjects := slices.DeleteFunc(slices.Clone(o.Subjects), func(s peers.Subject) bool { return !takes(s) })
	f, err := newFleet(ctx, o, g, subjects)
	if err != nil {
		return err
	}
	defer f.close()
	for _, w := range g.workloads {
		units := slices.DeleteFunc(slices.Clone(f.units), func(u *unit) bool { return !w.takes(u.subject) })
		for _, u := range units {
			o.Progress.at(w.title, u.subject.Name)
			if err := u.prepare(g, w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			o.Progress.step(1)
		}
		for round := range g.rounds {
			for n := range units {
				u := units[(n+round)%len(units)]
				o.Progress.at(w.title, u.subject.Name)
				if err := f.measure(u, g, w); err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				o.Progress.step(1)
			}
		}
		run.Workloads = append(run.Workloads, result(g, w, units))
	}
	return nil
}

// result is what a workload's rounds say.
func result(g group, w workload, units []*unit) report.Workload {
	r := report.Workload{Name: w.name, Title: w.title, Group: g.title,
		Setup: fmt.Sprintf("%s %d rounds of %v.", w.setup, g.rounds, g.round)}
	var ours []worker.Round
	for _, u := range units {
		if u.subject.Name == report.Ours {
			ours = u.rounds
		}
	}
	for _, u := range units {
		r.Entries = append(r.Entries, report.NewEntry(u.subject.Name, u.rounds, ours))
	}
	return r
}

// weighed leaves out the second chain of Strata, whose cache is the first one's.
func weighed(s peers.Subject) bool { return s.Memory && !s.Floor && s.Name != report.Behind }

// memorySteps is how many steps of the progress bar a full cache is worth.
const memorySteps = 25

// weigh fills every cache from one server, each in a process of its own that holds
// nothing else.
func weigh(ctx context.Context, o Options, s scale, run *report.Run) error {
	server, err := redistest.Run()
	if err != nil {
		return err
	}
	defer server.Close()
	job := worker.Job{Op: load.Hit, Shape: load.TenKeys, Series: 4, Sessions: s.memory, Workers: s.workers}
	env := peers.Env{Addr: server.Addr(), TTL: peers.TTL, CacheTTL: peers.TTL, CacheBytes: 8 << 30, CacheEntries: 2 * s.memory}
	o.Progress.at("Full caches", "redis-server")
	if err = peers.SeedJSON(env, peers.WrittenTTL)(ctx, load.IDs(job.Series, job.Sessions), job.Shape.Data); err != nil {
		return err
	}
	for _, subject := range o.Subjects {
		if !weighed(subject) {
			continue
		}
		o.Progress.at("Full caches, "+subject.Name, fmt.Sprint(s.memory, " sessions"))
		f := &fleet{}
		stop := context.AfterFunc(ctx, f.interrupt)
		p, err := f.start(subject.Name, o.program(subject))
		var answer worker.Answer
		if err == nil {
			answer, err = p.ask(worker.Ask{What: worker.AskMemory, Subject: subject.Name, Env: env, Direct: env.Addr, Job: job, Duration: s.memoryRound})
		}
		f.close()
		stop()
		if err != nil {
			return fmt.Errorf("memory: %w", err)
		}
		run.Memory = append(run.Memory, report.Weight{Subject: subject.Name, Memory: answer.Memory})
		o.Progress.step(memorySteps)
	}
	return nil
}
