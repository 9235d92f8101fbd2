package worker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/stats"
)

// sampled is how many requests there are for each whose time is taken, where requests
// are so short that two readings of the clock would count.
const sampled = 8

// short is what such a request takes at most.
const short = 20 * time.Microsecond

// picks is how long the table of visits is; workers begin at different places of it.
const picks = 1 << 18

// rounds is the load of an open subject. It belongs to the goroutine that answers asks;
// workers get turns of their own.
type rounds struct {
	job   Job
	load  *load.Load
	picks []uint32
	turns []int
	every int
}

func newRounds(job Job, l *load.Load) *rounds {
	return visit(job, l, load.Picks(job.Sessions, job.Zipf, min(picks, max(job.Sessions*4, 1<<12))))
}

// sweep visits every session once in as many requests as there are sessions.
func sweep(job Job, l *load.Load) *rounds {
	job.Sessions -= job.Sessions % job.Workers
	return visit(job, l, load.Picks(job.Sessions, false, job.Sessions))
}

func visit(job Job, l *load.Load, picks []uint32) *rounds {
	r := &rounds{job: job, load: l, turns: make([]int, job.Workers), picks: picks, every: 1}
	for n := range r.turns {
		r.turns[n] = n * len(r.picks) / job.Workers
	}
	return r
}

// run has all workers make requests for a time, or so many in all, and answers their
// number and times.
func (r *rounds) run(ctx context.Context, d time.Duration, requests int) (int, stats.Histogram, error) {
	var (
		group sync.WaitGroup
		times = make([]stats.Histogram, r.job.Workers)
		done  = make([]int, r.job.Workers)
		errs  = make([]error, r.job.Workers)
		stop  atomic.Bool
		began = time.Now()
		end   = began.Add(d)
	)
	for w := range r.job.Workers {
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
	total, all := 0, stats.Histogram{}
	for w := range r.job.Workers {
		if errs[w] != nil {
			return 0, all, errs[w]
		}
		total += done[w]
		all.Merge(times[w])
	}
	if total > 0 {
		r.every = 1
		if time.Since(began)*time.Duration(r.job.Workers)/time.Duration(total) < short {
			r.every = sampled
		}
	}
	return total, all, nil
}

// work is one worker's part: until end, or most requests where they are counted.
func (r *rounds) work(ctx context.Context, w int, times *stats.Histogram, end time.Time, most int, counted bool, stop *atomic.Bool) (done int, err error) {
	for began := time.Now(); ; {
		if counted && done >= most || !counted && (began.After(end) || stop.Load()) {
			return done, nil
		}
		if err = r.request(ctx, w); err != nil {
			return done, err
		}
		now := time.Now()
		times.Add(now.Sub(began))
		done++
		for n := 1; n < r.every && (!counted || done < most); n++ {
			if err = r.request(ctx, w); err != nil {
				return done, err
			}
			done++
		}
		if began = now; r.every > 1 {
			began = time.Now()
		}
	}
}

// request makes the next request of a worker.
func (r *rounds) request(ctx context.Context, w int) (err error) {
	turn := r.turns[w]
	r.turns[w]++
	op := r.job.Op
	if isWrite(turn, r.job.Writes) {
		op = load.Change
	}
	n := int(r.picks[turn%len(r.picks)])
	if err = r.load.Do(ctx, op, n, turn); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// isWrite spreads a part of writes evenly over turns, the same for every subject.
func isWrite(turn int, part float64) bool {
	return part > 0 && float64(uint32(turn)*2654435761)/(1<<32) < part
}
