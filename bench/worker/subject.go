package worker

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
)

// running is a subject that is open. It belongs to the goroutine that answers asks.
type running struct {
	subject peers.Subject
	ask     Ask
	node    peers.Node
	meter   meter
	load    *load.Load // knows the sessions that were seeded last
	rounds  *rounds
	last    Usage
	web     *web
	logouts int
	dir     string // of its files, removed with it
}

// open opens a subject on an empty server, with its sessions.
func open(subject peers.Subject, ask Ask) (_ *running, err error) {
	r := &running{subject: subject, ask: ask}
	defer func() {
		if err != nil {
			_ = r.close()
		}
	}()
	if subject.Redis {
		r.meter.client = redis.NewClient(&redis.Options{Addr: ask.Direct})
		if err = r.meter.client.FlushAll(ctx).Err(); err != nil {
			return nil, err
		}
	}
	if r.dir, err = os.MkdirTemp(ask.Env.Dir, "files"); err != nil {
		return nil, err
	}
	ask.Env.Dir = r.dir
	if r.node, err = subject.Open(ask.Env); err != nil {
		return nil, err
	}
	return r, r.prepare(ask.Job, true)
}

// prepare sets the sessions of a job up; without seed they are those of the job before.
func (r *running) prepare(job Job, seed bool) error {
	if job.Procs > 0 {
		runtime.GOMAXPROCS(job.Procs)
	}
	ids := load.IDs(job.Series, job.Sessions)
	if seed {
		if err := r.node.Seed(ctx, ids, job.Shape.Data); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	if seed {
		r.load = load.New(r.subject, r.node, job.Shape, ids)
	}
	r.ask.Job, r.rounds = job, newRounds(job, r.load)
	return nil
}

// logoutSeries is the first series of ids that are logged out, another one each round.
const logoutSeries = 10

// round measures one.
func (r *running) round(d time.Duration, requests int) (Round, error) {
	if r.ask.Job.Op == load.Logout {
		// Sessions that this node has read, once: a user who is active logs out.
		job := r.ask.Job
		job.Series, requests = logoutSeries+r.logouts%40, job.Sessions
		r.logouts++
		if err := r.prepare(job, true); err != nil {
			return Round{}, err
		}
		known := job
		known.Op = load.Read
		if _, _, err := sweep(known, r.load).run(ctx, 0, requests); err != nil {
			return Round{}, err
		}
		r.rounds = sweep(job, r.load)
	}
	before, err := r.meter.read()
	if err != nil {
		return Round{}, err
	}
	outdated, began := r.rounds.load.Outdated.Load(), time.Now()
	var round Round
	if round.Requests, round.Times, err = r.rounds.run(ctx, d, requests); err != nil {
		return round, err
	}
	if err = r.node.Flush(ctx); err != nil {
		return round, err
	}
	round.Elapsed = time.Since(began)
	after, err := r.meter.read()
	if err == nil && r.ask.Job.Op == load.Logout {
		for n := 0; n < r.ask.Job.Sessions && err == nil; n += 64 {
			err = r.rounds.load.Gone(ctx, n)
		}
	}
	round.Usage, round.Outdated = after.since(before), r.rounds.load.Outdated.Load()-outdated
	if err == nil && r.subject.Strata && round.Outdated > 0 {
		err = load.Wrong(fmt.Sprintf("%d answers are older than a write that had returned", round.Outdated))
	}
	return round, err
}

// usage is what was used up since it was last asked.
func (r *running) usage() (Usage, error) {
	if err := r.node.Flush(ctx); err != nil {
		return Usage{}, err
	}
	now, err := r.meter.read()
	since := now.since(r.last)
	r.last = now
	return since, err
}

func (r *running) close() (err error) {
	if r.web != nil {
		err = r.web.close()
	}
	if r.node != nil {
		if e := r.node.Close(); err == nil {
			err = e
		}
	}
	if r.meter.client != nil {
		_ = r.meter.client.Close()
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
	}
	return err
}
