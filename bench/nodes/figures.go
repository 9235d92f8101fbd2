package main

import (
	"fmt"
	"time"
)

// Figures are what was measured without faults.
type Figures struct {
	RedisReads float64 // Redis reads a request, 95 % of which read, where a session's requests stay on one node
	OwnReads   int
	OwnMisses  map[string]int // reads of own writes that asked Redis, by what kept memory from serving them
	Delays     Ages
	Others     float64 // the part of the machine's CPU time that other programs used meanwhile; 1 if it isn't known
}

const (
	// measurings is how often the figures are measured until they are reached. They show what the
	// machine lets them: a chain that doesn't reach them won't the next time either.
	measurings = 3

	// mostDelay is the p99 of the invalidations.
	mostDelay = 2 * time.Millisecond

	// mostReads is the Redis reads a request; a bare StorageRedis makes one.
	mostReads = 0.07

	// mostOthers is the part of the CPU time of an idle machine that others use.
	mostOthers = 0.05

	// mostOwnMisses is the part of the reads of own writes that ask Redis on a busy machine; on an idle
	// one none does. A write has memory invalidated if the notifications of several writes before it
	// come after it.
	mostOwnMisses = 0.01
)

// busy reports whether the machine was too busy to judge what takes time. The lateness of a timer doesn't
// show that: its granularity may be a millisecond on an idle machine, and a thread that wakes up takes
// precedence over loops.
func (f *Figures) busy() bool { return f.Others > mostOthers }

// unreached is what was expected and isn't so.
func (f *Figures) unreached() (texts []string) {
	expect := func(met bool, format string, args ...any) {
		if !met {
			texts = append(texts, fmt.Sprintf(format, args...))
		}
	}
	misses := f.judgedMisses()
	if f.busy() {
		expect(float64(misses) <= mostOwnMisses*float64(f.OwnReads), "at most %g of the reads of own writes ask Redis", mostOwnMisses)
	} else {
		expect(misses == 0, "no read of an own write asks Redis")
		expect(f.Delays.Quantile(0.99) < mostDelay, "an invalidation delay p99 under %v", mostDelay)
		expect(f.RedisReads <= mostReads, "at most %.2f Redis reads a request", mostReads)
	}
	return texts
}

// judgedMisses is how many reads of own writes asked Redis, but for those that came too late on a busy machine.
func (f *Figures) judgedMisses() int {
	misses := f.ownMisses()
	if f.busy() {
		misses -= f.OwnMisses[unvouched] + f.OwnMisses[unread]
	}
	return misses
}

// ownMisses is how many reads of own writes asked Redis.
func (f *Figures) ownMisses() (all int) {
	for _, n := range f.OwnMisses {
		all += n
	}
	return all
}

// figures measures in round 0, which has no faults.
func (w *world) figures() (f Figures) {
	w.tb.Helper()
	w.all(Ask{What: askBegin, Round: 0})
	for range measurings {
		if f = w.measureAll(); len(f.unreached()) == 0 {
			break
		}
	}
	return f
}

func (w *world) measureAll() (f Figures) {
	w.tb.Helper()
	o := w.options
	began, cpuErr := readCPU()
	ask := Ask{What: askMeasure, Round: 0, Count: o.Requests}
	w.all(ask) // each node has its sessions in memory then
	before := w.reads()
	w.all(ask)
	f.RedisReads = float64(w.reads()-before) / float64(len(w.nodes)*o.Requests)
	own := w.each(w.nodes[:1], Ask{What: askOwn, Count: o.Probes, IDs: []string{sessionID(0, 0, 0)}})
	f.OwnReads, f.OwnMisses = o.Probes, own[0].Misses
	f.Delays = w.delays()
	f.Others = 1
	if ended, err := readCPU(); cpuErr == nil && err == nil {
		f.Others = ended.others(began)
	}
	return f
}

// delays measures how long after its acknowledgement a change is still not seen by
// another node that has the session in memory: until the start of the first read that
// shows it.
func (w *world) delays() (delays Ages) {
	w.tb.Helper()
	if len(w.nodes) < 2 {
		return delays
	}
	w.probes++
	ids := []string{fmt.Sprint("probe", w.probes)}
	for version := 1; version <= w.options.Probes; version++ {
		type seen struct {
			answer Answer
			err    error
		}
		follower := w.nodes[1+version%(len(w.nodes)-1)]
		first := make(chan seen, 1)
		if version > 1 {
			// It knows the version before, so that it serves it from memory.
			w.each([]*process{follower}, Ask{What: askFollow, IDs: ids, Count: version - 1})
			wait(time.Millisecond)
		}
		go func() {
			answer, err := follower.ask(Ask{What: askFollow, IDs: ids, Count: version})
			first <- seen{answer, err}
		}()
		written := w.each(w.nodes[:1], Ask{What: askWrite, IDs: ids, Count: version})[0]
		read := <-first
		if read.err != nil {
			w.tb.Fatal(read.err)
		}
		if version > 1 {
			delays.Add(read.answer.Records[0].Start - written.Records[0].End)
		}
	}
	return delays
}
