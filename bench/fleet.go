package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gf-strata/strata/bench/load"
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
	link    string            // the address of its link, empty without a round-trip time
	dir     string
	open    bool
	addr    string // of its ghttp server
	rounds  []worker.Round
}

// fleet is all units of a group. It belongs to the goroutine of the bench; mu guards
// what an interrupt looks at.
type fleet struct {
	units     []*unit
	generator *process // of HTTP requests
	links     *process // to the servers

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
	if g.roundTrip > 0 {
		if f.links, err = f.start("links", o.program(peers.Subject{})); err != nil {
			return f, err
		}
	}
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
			answer, err := f.links.ask(worker.Ask{What: worker.AskLink, Addr: u.server.Addr(), Duration: g.roundTrip})
			if err != nil {
				return f, err
			}
			u.link = answer.Addr
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

// ask makes an ask that says where the unit's subject finds its server. The time to live
// of caches is that of the subject's own turns: while the others have theirs it would
// expire without ever having been used.
func (f *fleet) ask(u *unit, what string) worker.Ask {
	a := worker.Ask{What: what, Subject: u.subject.Name, Env: peers.Env{Dir: u.dir, TTL: peers.TTL,
		CacheTTL: cacheTTL * time.Duration(len(f.units)), CacheBytes: cacheBytes, CacheEntries: cacheEntries}}
	if u.server != nil {
		a.Env.Addr, a.Env.Direct = u.server.Addr(), u.server.Addr()
	}
	if u.link != "" {
		a.Env.Addr = u.link
	}
	return a
}

// distance sets the round-trip time to the server, where there is a link.
func (f *fleet) distance(u *unit, d time.Duration) error {
	if u.link == "" {
		return nil
	}
	_, err := f.links.ask(worker.Ask{What: worker.AskDistance, Addr: u.link, Duration: d})
	return err
}

// prepare opens a unit for a workload, or changes what requests do, and warms it up.
func (f *fleet) prepare(u *unit, g group, w workload) error {
	u.rounds = nil
	if err := f.distance(u, 0); err != nil { // the way to a warm cache isn't measured
		return err
	}
	if w.fresh || !u.open {
		u.open = true
		open := f.ask(u, worker.AskOpen)
		open.Job, open.Live = w.job, g.live
		if _, err := u.process.ask(open); err != nil {
			return err
		}
		if g.http {
			answer, err := u.process.ask(f.ask(u, worker.AskServe))
			if err != nil {
				return err
			}
			u.addr = answer.Addr
		}
	}
	warm := f.ask(u, worker.AskWarm)
	warm.Job = w.job
	if g.warm > 0 && u.subject.Memory {
		warm.Requests, warm.Job.Writes, warm.Job.Op, warm.Job.Zipf = g.warm, 0, load.Read, false
		if _, err := u.process.ask(warm); err != nil {
			return err
		}
	}
	if err := f.distance(u, g.roundTrip); err != nil {
		return err
	}
	warm.Job, warm.Requests, warm.Duration = w.job, 0, g.round/2
	if g.http {
		warm.Job.Op = load.Read // what writes is the server's requests alone
	}
	_, err := u.process.ask(warm)
	return err
}

// measure runs one round, the unit's turn-th of the workload.
func (f *fleet) measure(u *unit, g group, w workload, turn int) error {
	f.quiet()
	if !g.http {
		ask := f.ask(u, worker.AskRound)
		ask.Duration, ask.Turn = g.round, turn+1
		answer, err := u.process.ask(ask)
		u.rounds = append(u.rounds, answer.Round)
		return err
	}
	usage := f.ask(u, worker.AskUsage)
	if _, err := u.process.ask(usage); err != nil {
		return err
	}
	answer, err := f.generator.ask(worker.Ask{What: worker.AskGenerate, Addr: u.addr, Job: w.job, Duration: g.round, Turn: turn + 1})
	if err != nil {
		return fmt.Errorf("%s: %w", u.subject.Name, err)
	}
	used, err := u.process.ask(usage)
	round := answer.Round
	round.Usage, round.Stale = used.Round.Usage, used.Round.Stale
	round.Elapsed += used.Round.Elapsed // until what was accepted is kept
	u.rounds = append(u.rounds, round)
	return err
}

// sweep counts what a server's requests have lost, as the last round's.
func (f *fleet) sweep(u *unit) error {
	answer, err := u.process.ask(f.ask(u, worker.AskSweep))
	if n := len(u.rounds); n > 0 {
		u.rounds[n-1].Stale += answer.Round.Stale
	}
	return err
}

var errNothing = errors.New("no workload has that name; see plan.go for the names")
