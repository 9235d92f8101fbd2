package worker

import (
	"math"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
)

// weigh reads every session of a server that holds them, so that the subject's cache is
// as full as it gets, and answers what that costs.
func weigh(subject peers.Subject, ask Ask) (m Memory, err error) {
	job := ask.Job
	ids := load.IDs(job.Series, job.Sessions)
	r := &running{subject: subject, ask: ask}
	defer func() {
		if e := r.close(); err == nil {
			err = e
		}
	}()
	if subject.Redis {
		r.meter.client = redis.NewClient(&redis.Options{Addr: ask.Direct})
	}
	if r.node, err = subject.Open(ask.Env); err != nil {
		return m, err
	}
	r.rounds = sweep(job, load.New(subject, r.node, job.Shape, ids))
	before := heap()
	if !subject.Redis {
		err = r.node.Seed(ctx, ids, job.Shape.Data)
	} else {
		// Twice, as a cache may refuse what it sees for the first time.
		for n := 0; n < 2 && err == nil; n++ {
			_, _, err = r.rounds.run(ctx, 0, job.Sessions)
		}
	}
	if err != nil {
		return m, err
	}
	after := heap()
	m = Memory{Sessions: job.Sessions, Payload: float64(job.Shape.JSONSize()), Cached: 1}
	if subject.Redis {
		if m.Cached, err = r.cached(); err != nil {
			return m, err
		}
	}
	m.Session = (after - before) / (m.Cached * float64(job.Sessions))
	return m, r.collect(&m, ask.Duration)
}

// cached is the part of reads that Redis isn't asked for.
func (r *running) cached() (float64, error) {
	before, err := r.meter.read()
	if err != nil {
		return 0, err
	}
	n, _, err := r.rounds.run(ctx, 0, max(1, r.rounds.job.Sessions/10))
	if err != nil {
		return 0, err
	}
	after, err := r.meter.read()
	return max(0, 1-after.since(before).Reads/float64(n)), err
}

// heap is what lives on it, in bytes.
func heap() float64 {
	runtime.GC()
	runtime.GC() // finalizers and pools of the first
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return float64(memory.HeapAlloc)
}

// collector is what the runtime says of its collector. Its times are of the last cycle's
// end, so that a difference is of whole cycles.
type collector struct {
	gc, busy float64
	cycles   uint64
	pauses   *metrics.Float64Histogram
}

func readCollector() collector {
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(samples)
	pauses := samples[4].Value.Float64Histogram()
	kept := &metrics.Float64Histogram{Counts: append([]uint64(nil), pauses.Counts...), Buckets: pauses.Buckets}
	return collector{gc: samples[0].Value.Float64(), busy: samples[1].Value.Float64() - samples[2].Value.Float64(),
		cycles: samples[3].Value.Uint64(), pauses: kept}
}

// collect reads sessions from memory for a time, and longer until the collector has run.
func (r *running) collect(m *Memory, d time.Duration) error {
	runtime.GC()
	before, began, total := readCollector(), time.Now(), 0
	after := before
	for time.Since(began) < d || after.cycles < before.cycles+2 && time.Since(began) < 3*d {
		n, _, err := r.rounds.run(ctx, d/4, 0)
		if err != nil {
			return err
		}
		total += n
		after = readCollector()
	}
	m.Reads = float64(total) / time.Since(began).Seconds()
	if busy := after.busy - before.busy; busy > 0 {
		m.GCShare = (after.gc - before.gc) / busy
	}
	m.PauseP99, m.PauseMax = pauses(before.pauses, after.pauses)
	return nil
}

// pauses are the 99th percentile and the longest of those between two readings.
func pauses(before, after *metrics.Float64Histogram) (p99, longest float64) {
	total := uint64(0)
	for n := range after.Counts {
		total += after.Counts[n] - before.Counts[n]
	}
	seen := uint64(0)
	for n := range after.Counts {
		count := after.Counts[n] - before.Counts[n]
		if count == 0 {
			continue
		}
		high := after.Buckets[n+1]
		if math.IsInf(high, 1) {
			high = after.Buckets[n]
		}
		if seen += count; p99 == 0 && float64(seen) >= 0.99*float64(total) {
			p99 = high
		}
		longest = high
	}
	return p99, longest
}
