package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gf-strata/strata/bench/link"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/worker"
	"github.com/gf-strata/strata/internal/redistest"
)

// unit is a subject in a process of its own, with a redis-server of its own, so that
// what either of them uses up is the subject's. It belongs to the goroutine of the bench.
type unit struct {
	subject peers.Subject
	process *process
	server  *redistest.Server // nil without Redis
	link    *link.Link        // nil without a round-trip time
	dir     string
	addr    string // of its ghttp server
	rounds  []worker.Round
}

// fleet is all units of a group. It belongs to the goroutine of the bench; mu guards
// what an interrupt looks at.
type fleet struct {
	units     []*unit
	generator *process // of HTTP requests

	mu        sync.Mutex
	processes []*process
	stopped   bool
}

// start runs a process that ends with the fleet, or at once with the context.
func (f *fleet) start(name, program string) (*process, error) {
	p, err := spawn(name, program)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes = append(f.processes, p)
	if f.stopped {
		p.kill()
	}
	return p, nil
}

// newFleet starts units for subjects; close ends them. They are killed when ctx ends.
func newFleet(ctx context.Context, o Options, g group, subjects []peers.Subject) (f *fleet, err error) {
	f = &fleet{}
	context.AfterFunc(ctx, f.interrupt)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for _, s := range subjects {
		u := &unit{subject: s}
		f.units = append(f.units, u)
		if u.dir, err = os.MkdirTemp("", "bench"); err != nil {
			return f, err
		}
		if u.process, err = f.start(s.Name, o.program(s)); err != nil {
			return f, err
		}
		if !s.Redis {
			continue
		}
		if u.server, err = redistest.Run(); err != nil {
			return f, err
		}
		if g.roundTrip > 0 {
			if u.link, err = link.Start(u.server.Addr(), g.roundTrip); err != nil {
				return f, err
			}
		}
	}
	if g.http {
		f.generator, err = f.start("load generator", o.program(peers.Subject{}))
	}
	return f, err
}

func (f *fleet) interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for _, p := range f.processes {
		p.kill()
	}
}

func (f *fleet) close() {
	for _, p := range f.processes {
		_ = p.stdin.Close() // all at once: a process takes its time to end
	}
	for _, p := range f.processes {
		p.end()
	}
	for _, u := range f.units {
		if u.link != nil {
			u.link.Close()
		}
		if u.server != nil {
			u.server.Close()
		}
		if u.dir != "" {
			_ = os.RemoveAll(u.dir)
		}
	}
}

// The bounds of caches: all sessions of a workload fit.
const (
	cacheBytes   = 256 << 20
	cacheEntries = 200_000
	cacheTTL     = time.Minute
)

// env is where the unit's subject finds its server.
func (u *unit) ask(what string) worker.Ask {
	a := worker.Ask{What: what, Subject: u.subject.Name, Env: peers.Env{Dir: u.dir, TTL: peers.TTL,
		CacheTTL: cacheTTL, CacheBytes: cacheBytes, CacheEntries: cacheEntries}}
	if u.server != nil {
		a.Direct = u.server.Addr()
		a.Env.Addr = a.Direct
	}
	if u.link != nil {
		a.Env.Addr = u.link.Addr()
	}
	return a
}

// distance sets the round-trip time to the server, where there is a link.
func (u *unit) distance(d time.Duration) {
	if u.link != nil {
		u.link.Set(d)
	}
}

// prepare opens the unit for a workload, or changes what requests do, and warms it up.
func (u *unit) prepare(g group, w workload) error {
	u.rounds = nil
	u.distance(0) // the way to a warm cache isn't measured
	defer u.distance(g.roundTrip)
	ask := u.ask(worker.AskOpen)
	ask.Job, ask.Live = w.job, g.live
	warm := u.ask(worker.AskWarm)
	warm.Job, warm.Duration = w.job, g.round/2
	if w.fresh {
		if _, err := u.process.ask(ask); err != nil {
			return err
		}
		warm.Job = worker.Job{}
		if g.warm > 0 && u.subject.Memory {
			warm.Requests = g.warm
		}
		if g.http {
			answer, err := u.process.ask(u.ask(worker.AskServe))
			if err != nil {
				return err
			}
			u.addr = answer.Addr
		}
	}
	_, err := u.process.ask(warm)
	return err
}

// measure runs one round.
func (f *fleet) measure(u *unit, g group, w workload) error {
	if !g.http {
		ask := u.ask(worker.AskRound)
		ask.Duration = g.round
		answer, err := u.process.ask(ask)
		u.rounds = append(u.rounds, answer.Round)
		return err
	}
	usage := u.ask(worker.AskUsage)
	if _, err := u.process.ask(usage); err != nil {
		return err
	}
	answer, err := f.generator.ask(worker.Ask{What: worker.AskGenerate, Addr: u.addr, Job: w.job, Duration: g.round})
	if err != nil {
		return fmt.Errorf("%s: %w", u.subject.Name, err)
	}
	used, err := u.process.ask(usage)
	answer.Round.Usage = used.Round.Usage
	u.rounds = append(u.rounds, answer.Round)
	return err
}

var errNothing = errors.New("no workload has that name; see plan.go for the names")
