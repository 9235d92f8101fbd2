package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/stats"
)

// sampled is how many requests there are, in the middle, for each whose time is taken,
// where requests are so short that two readings of the clock would count.
const sampled = 8

// short is what such a request takes at most.
const short = 20 * time.Microsecond

// rounds is the load of an open subject. It belongs to the goroutine that carries out asks;
// each visitor is its worker's.
type rounds struct {
	job      Job
	load     *load.Load
	visitors []visitor
	number   uint64 // of the round, so that each draws its own visits
	every    int
}

// visitor is what a worker does next.
type visitor struct {
	law    *load.Law // nil where sessions are visited by turns
	random rand.PCG
	turn   int
}

// next is the session to visit.
func (v *visitor) next(sessions int) int {
	if v.law == nil {
		return v.turn % sessions
	}
	return v.law.Pick(v.random.Uint64())
}

func newRounds(job Job, l *load.Load) *rounds {
	r := &rounds{job: job, load: l, visitors: make([]visitor, job.Workers), every: 1}
	var law *load.Law
	if job.Zipf {
		law = load.Zipf(job.Sessions)
	}
	for w := range r.visitors {
		r.visitors[w] = visitor{law: law, turn: w * job.Sessions / job.Workers}
	}
	return r
}

// sweep visits every session once in as many requests as there are sessions.
func sweep(job Job, l *load.Load) *rounds {
	job.Zipf = false
	job.Sessions -= job.Sessions % job.Workers
	return newRounds(job, l)
}

// draw has a worker's next visits be the round's own, the same for every subject.
func (r *rounds) draw(w int) { r.visitors[w].random.Seed(r.number, uint64(w)) }

// run has all workers make requests for a time, or so many in all, and returns the
// requests, their times and how many sessions they visited.
func (r *rounds) run(ctx context.Context, d time.Duration, requests int) (round Round, err error) {
	var (
		group sync.WaitGroup
		times = make([]stats.Histogram, r.job.Workers)
		done  = make([]int, r.job.Workers)
		errs  = make([]error, r.job.Workers)
		stop  atomic.Bool
		began = time.Now()
		end   = began.Add(d)
	)
	r.number++
	for w := range r.job.Workers {
		r.draw(w)
		group.Go(func() {
			most := requests / r.job.Workers
			if w < requests%r.job.Workers {
				most++
			}
			done[w], errs[w] = r.work(ctx, w, &times[w], end, most, requests > 0, &stop)
			if errs[w] != nil {
				stop.Store(true)
			}
		})
	}
	group.Wait()
	round.Elapsed = time.Since(began)
	for w := range r.job.Workers {
		if errs[w] != nil {
			return Round{}, errs[w]
		}
		round.Requests += done[w]
		round.Times.Merge(times[w])
	}
	if round.Requests > 0 {
		r.every = 1
		if round.Elapsed*time.Duration(r.job.Workers)/time.Duration(round.Requests) < short {
			r.every = sampled
		}
	}
	round.Distinct = r.distinct(done)
	return round, nil
}

// distinct draws the round's visits again, which costs the measured requests nothing.
func (r *rounds) distinct(done []int) (distinct int) {
	if !r.job.Zipf {
		return 0
	}
	seen := make([]bool, r.job.Sessions)
	for w := range done {
		r.draw(w)
		for range done[w] {
			if n := r.visitors[w].next(r.job.Sessions); !seen[n] {
				seen[n] = true
				distinct++
			}
		}
	}
	return distinct
}

// work is one worker's part: until end, or most requests where they are counted. Which
// requests are timed is drawn too: a fixed distance would time the same sessions.
func (r *rounds) work(ctx context.Context, w int, times *stats.Histogram, end time.Time, most int, counted bool, stop *atomic.Bool) (done int, err error) {
	phase := rand.NewPCG(r.number, ^uint64(w))
	for began := time.Now(); ; {
		// One request at least: on a busy machine the round's time may be over before a worker begins, and
		// figures are divided by requests.
		if counted && done >= most || !counted && done > 0 && (began.After(end) || stop.Load()) {
			return done, nil
		}
		if err = r.request(ctx, w); err != nil {
			return done, err
		}
		now := time.Now()
		times.Add(now.Sub(began))
		done++
		began = now
		if r.every == 1 {
			continue
		}
		for n := phase.Uint64() % uint64(2*r.every-1); n > 0 && (!counted || done < most); n-- {
			if err = r.request(ctx, w); err != nil {
				return done, err
			}
			done++
		}
		began = time.Now()
	}
}

// request makes the next request of a worker.
func (r *rounds) request(ctx context.Context, w int) (err error) {
	v := &r.visitors[w]
	n, turn := v.next(r.job.Sessions), v.turn
	v.turn++
	op := r.job.Op
	if isWrite(turn, r.job.Writes) {
		op = load.Change
	}
	if err = r.load.Do(ctx, op, n, turn); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// isWrite spreads a part of writes evenly over turns, the same for every subject.
func isWrite(turn int, part float64) bool {
	return part > 0 && float64(uint32(turn)*2654435761)/(1<<32) < part
}
