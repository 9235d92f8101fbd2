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

// running is a subject that is open. It belongs to the goroutine that carries out asks.
type running struct {
	subject peers.Subject
	ask     Ask
	node    peers.Node
	meter   meter
	load    *load.Load // knows the sessions that were seeded last
	rounds  *rounds
	last    Usage
	counted int64 // stale results that a usage has reported
	web     *web
	swept   int
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
		r.meter.client = redis.NewClient(&redis.Options{Addr: ask.Env.Direct})
		if err = r.meter.client.FlushAll(ctx).Err(); err != nil {
			return nil, err
		}
	}
	if r.dir, err = os.MkdirTemp(ask.Env.Dir, "files"); err != nil {
		return nil, err
	}
	ask.Env.Dir = r.dir
	ask.Env.Aged = ask.Job.Due
	if r.node, err = subject.Open(ask.Env); err != nil {
		return nil, err
	}
	r.meter.node = r.node
	return r, r.prepare(ask.Job, true)
}

// prepare sets the sessions of a job up; without seed they are those of the job before.
func (r *running) prepare(job Job, seed bool) error {
	if job.Procs > 0 {
		runtime.GOMAXPROCS(job.Procs)
	}
	ids := load.IDs(job.Series, job.Sessions)
	if seed {
		r.counted = 0
		if err := r.node.Seed(ctx, ids, job.Shape.Data); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		r.load = load.New(r.subject, r.node, job.Shape, ids)
	}
	r.ask.Job, r.rounds = job, newRounds(job, r.load)
	return nil
}

// onceSeries is the first series of ids that are visited once, another one each round.
const onceSeries = 10

// Once reports whether a job visits each session once: a user who logs out, and one whose
// expiry is to be slid.
func (j Job) Once() bool { return j.Op == load.Logout || j.Due }

// renew seeds other sessions, which this node has read once, as those of users who are
// active. GetSession alone slides no expiry.
func (r *running) renew() error {
	job := r.ask.Job
	job.Series = onceSeries + r.swept%40
	r.swept++
	if err := r.prepare(job, true); err != nil {
		return err
	}
	known := job
	if known.Op = load.Read; job.Due {
		known.Op = load.Hit
	}
	if _, err := sweep(known, r.load).run(ctx, 0, job.Sessions); err != nil {
		return err
	}
	r.rounds = sweep(job, r.load)
	return nil
}

// round measures one.
func (r *running) round(d time.Duration, turn int) (round Round, err error) {
	requests := 0
	if r.ask.Job.Once() {
		requests = r.ask.Job.Sessions
		if err = r.renew(); err != nil {
			return round, err
		}
	}
	r.rounds.number = uint64(turn) << 32
	before, err := r.meter.read()
	if err != nil {
		return round, err
	}
	stale := r.load.Stale.Load()
	if round, err = r.rounds.run(ctx, d, requests); err != nil {
		return round, err
	}
	flushed := time.Now()
	if err = r.node.Flush(ctx); err != nil {
		return round, err
	}
	round.Elapsed += time.Since(flushed)
	after, err := r.meter.read()
	if err == nil && r.ask.Job.Op == load.Logout {
		for n := 0; n < r.ask.Job.Sessions && err == nil; n += 64 {
			err = r.load.Gone(ctx, n)
		}
	}
	if round.Usage = after.since(before); err != nil {
		return round, err
	}
	round.Stale, err = r.stale(stale)
	return round, err
}

// stale is how many stale results have come to a count since. Strata may have none.
func (r *running) stale(before int64) (int64, error) {
	n := r.load.Stale.Load() - before
	if r.subject.Strata && n > 0 {
		return n, load.Wrong(fmt.Sprintf("%d results are older than a write that had returned", n))
	}
	return n, nil
}

// usage is what was used up since it was last asked, and how long it took until all that
// had been accepted was where it is kept.
func (r *running) usage() (round Round, err error) {
	began := time.Now()
	if err = r.node.Flush(ctx); err != nil {
		return round, err
	}
	round.Elapsed = time.Since(began)
	now, err := r.meter.read()
	if err != nil {
		return round, err
	}
	round.Usage, r.last = now.since(r.last), now
	before := r.counted
	r.counted = r.load.Stale.Load()
	round.Stale, err = r.stale(before)
	return round, err
}

// sweep looks for updates that were lost.
func (r *running) sweep() (round Round, err error) {
	if r.subject.Floor {
		return round, nil
	}
	before := r.load.Stale.Load()
	if err = r.load.Sweep(ctx); err == nil {
		round.Stale, err = r.stale(before)
	}
	r.counted = r.load.Stale.Load()
	return round, err
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
