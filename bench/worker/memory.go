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
// as full as it gets, and returns what that costs: all that lives on the heap because of
// it, from before it was opened.
func weigh(subject peers.Subject, ask Ask) (m Memory, err error) {
	job := ask.Job
	r := &running{subject: subject, ask: ask}
	defer func() {
		if e := r.close(); err == nil {
			err = e
		}
	}()
	if subject.Redis {
		r.meter.client = redis.NewClient(&redis.Options{Addr: ask.Env.Direct})
	}
	r.load = load.New(subject, nil, job.Shape, load.IDs(job.Series, job.Sessions))
	r.load.Fresh = true
	before := heap()
	if r.node, err = subject.Open(ask.Env); err != nil {
		return m, err
	}
	r.load.Node, r.meter.node = r.node, r.node
	r.rounds = sweep(job, r.load)
	if !subject.Redis {
		err = r.node.Seed(ctx, load.IDs(job.Series, job.Sessions), job.Shape.Data)
	} else {
		_, err = r.rounds.run(ctx, 0, job.Sessions)
	}
	if err != nil {
		return m, err
	}
	m = Memory{Sessions: job.Sessions, Payload: float64(job.Shape.JSONSize()), Cached: 1}
	if subject.Redis {
		if m.Cached, err = r.cached(); err != nil {
			return m, err
		}
		// Again, as a cache may refuse what it sees for the first time, or what comes too fast,
		// and serves nothing while it receives no invalidations.
		for n := 0; n < sweeps && m.Cached < 0.99 && err == nil; n++ {
			if _, err = r.rounds.run(ctx, 0, job.Sessions); err == nil {
				m.Cached, err = r.cached()
			}
		}
		if err != nil {
			return m, err
		}
	}
	live := heap()
	m.Session = perSession(live-before, m.Cached*float64(job.Sessions))
	return m, r.collect(&m, live, ask.Duration)
}

// sweeps is how many times at most a cache is filled again.
const sweeps = 3

// perSession is 0 where nothing is cached.
func perSession(bytes, cached float64) float64 {
	if cached < 1 {
		return 0
	}
	return bytes / cached
}

// cached is the part of reads that Redis isn't asked for.
func (r *running) cached() (float64, error) {
	before, err := r.meter.read()
	if err != nil {
		return 0, err
	}
	round, err := r.rounds.run(ctx, 0, max(r.rounds.job.Workers, r.rounds.job.Sessions/10))
	if err != nil {
		return 0, err
	}
	after, err := r.meter.read()
	return max(0, 1-after.since(before).Gets/float64(round.Requests)), err
}

// heap is what lives on it, in bytes.
func heap() float64 {
	runtime.GC()
	runtime.GC() // finalizers and pools of the first
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return float64(memory.HeapAlloc)
}

// readCollector returns the CPU time that the collector has taken up to its last cycle's
// end, and its pauses.
func readCollector() (cpu float64, pauses *metrics.Float64Histogram) {
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(samples)
	h := samples[1].Value.Float64Histogram()
	return samples[0].Value.Float64(), &metrics.Float64Histogram{Counts: append([]uint64(nil), h.Counts...), Buckets: h.Buckets}
}

// ReadRate is how many sessions a second are read while the collector is watched, the same
// for every subject: a faster one would make it work more.
const ReadRate = 20_000

// cycles is how many collections there are meanwhile.
const cycles = 2

// collect watches the collector while sessions are read from memory at a fixed rate. Its
// cycles are started by hand: by itself it would seldom run, and not for all subjects as
// often. How often it would follows from what reads allocate.
func (r *running) collect(m *Memory, live float64, d time.Duration) error {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	allocated, began := memory.TotalAlloc, time.Now()
	reads, err := r.pace(func() bool { return time.Since(began) >= d })
	if err != nil {
		return err
	}
	runtime.ReadMemStats(&memory)
	m.Reads = float64(reads) / time.Since(began).Seconds()
	perSecond := float64(memory.TotalAlloc-allocated) / time.Since(began).Seconds()
	m.Interval = live / max(1, perSecond)

	cpu, before := readCollector()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range cycles {
			runtime.GC()
		}
	}()
	_, err = r.pace(func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	<-done
	total, after := readCollector()
	m.Cycle = (total - cpu) / cycles
	m.PauseP99, m.PauseMax = pauses(before, after)
	return err
}

// pace reads sessions at ReadRate until over says so.
func (r *running) pace(over func() bool) (reads int, err error) {
	for began := time.Now(); !over(); time.Sleep(time.Millisecond) {
		for due := int(time.Since(began).Seconds() * ReadRate); reads < due; reads++ {
			if err = r.rounds.request(ctx, 0); err != nil {
				return reads, err
			}
		}
	}
	return reads, nil
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
