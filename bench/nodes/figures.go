package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Figures are what was measured without faults.
type Figures struct {
	Scattered, Sticky, Bare Traffic
	OwnReads                int
	OwnMisses               map[string]int // reads of own writes that asked Redis, by what kept memory from serving them
	Delays                  Ages
	Late                    Ages // how late the driver woke up between the changes whose delays these are
}

// Traffic is what Redis is asked.
type Traffic struct {
	Reads    float64 // Redis reads a request
	Commands float64 // commands a request as Redis counts them, those inside scripts too
}

const (
	// measurings is how often the figures are measured until they are reached. They show what the
	// machine lets them: a chain that doesn't reach them won't the next time either.
	measurings = 3

	// mostDelay is the p99 of the invalidations.
	mostDelay = 2 * time.Millisecond

	// mostReads is the Redis reads a request, where a session's requests stay on one node.
	mostReads = 0.07

	// mostOwnMisses is the part of the reads of own writes that ask Redis. Each write has memory
	// invalidated if the notifications of several writes before it come after it.
	mostOwnMisses = 0.01
)

// busy reports whether the machine was too busy to judge what takes time: what waits for its turn
// adds the delay of each turn to all that is measured.
func (f *Figures) busy() bool { return f.Late.Quantile(0.99) >= mostDelay/2 }

// unreached is what was expected and isn't so.
func (f *Figures) unreached() (texts []string) {
	expect := func(met bool, format string, args ...any) {
		if !met {
			texts = append(texts, fmt.Sprintf(format, args...))
		}
	}
	misses := f.ownMisses()
	if f.busy() {
		misses -= f.OwnMisses[unvouched] + f.OwnMisses[unread]
	} else {
		expect(f.Delays.Quantile(0.99) < mostDelay, "an invalidation delay p99 under %v", mostDelay)
		expect(f.Sticky.Reads <= mostReads, "at most %.2f Redis reads a request", mostReads)
	}
	expect(float64(misses) <= mostOwnMisses*float64(f.OwnReads), "at most %g of the reads of own writes ask Redis", mostOwnMisses)
	return texts
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
	ask := Ask{What: askMeasure, Round: 0, Count: o.Requests}
	w.all(ask) // everybody knows the sessions
	f.Scattered = w.measured(w.nodes, ask, "pttl")
	ask.Sticky = true
	w.all(ask)
	f.Sticky = w.measured(w.nodes, ask, "pttl")
	bare := []*process{w.spawn(0, modeBare)}
	f.Bare = w.measured(bare, Ask{What: askMeasure, Round: 0, Count: o.Requests}, "get")
	if err := bare[0].end(); err != nil {
		w.tb.Fatal(err)
	}
	own := w.each(w.nodes[:1], Ask{What: askOwn, Count: o.Probes, IDs: []string{sessionID(0, 0, 0)}})
	f.OwnReads, f.OwnMisses = o.Probes, own[0].Misses
	f.Delays, f.Late = w.delays()
	return f
}

// measured has the nodes serve requests, and returns what Redis counted; each of a
// storage's reads is one command of the given name.
func (w *world) measured(nodes []*process, ask Ask, read string) (f Traffic) {
	w.tb.Helper()
	before := w.commands()
	w.each(nodes, ask)
	after, requests := w.commands(), float64(len(nodes)*ask.Count)
	for name, calls := range after {
		calls -= before[name]
		f.Commands += calls / requests
		if name == read {
			f.Reads = calls / requests
		}
	}
	return f
}

// commands is how often the masters were sent, or ran in scripts, what sessions need.
func (w *world) commands() map[string]float64 {
	w.tb.Helper()
	ctx := context.Background()
	calls := map[string]float64{}
	for _, s := range w.servers {
		info, err := w.at(s).InfoMap(ctx, "commandstats").Result()
		role, errRole := w.at(s).InfoMap(ctx, "replication").Result()
		if err != nil || errRole != nil {
			w.tb.Fatal(err, errRole)
		}
		if role["Replication"]["role"] != "master" {
			continue
		}
		for _, name := range []string{"get", "getrange", "set", "setex", "psetex", "eval", "evalsha", "pttl", "pexpire", "expire", "del"} {
			calls[name] += float64(count(info["Commandstats"]["cmdstat_"+name]))
		}
	}
	return calls
}

// count reads calls=N from a line of commandstats.
func count(stats string) (n int) {
	text, _ := strings.CutPrefix(stats, "calls=")
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int(digit-'0')
	}
	return n
}

// delays measures how long after its acknowledgement a change is still not seen by
// another node that has the session in memory: until the start of the first read that
// shows it.
func (w *world) delays() (delays, late Ages) {
	w.tb.Helper()
	if len(w.nodes) < 2 {
		return delays, late
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
			due := now() + int64(time.Millisecond)
			wait(time.Millisecond)
			late.Add(now() - due)
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
	return delays, late
}
