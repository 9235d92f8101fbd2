package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Options are what a run is like.
type Options struct {
	Work
	Duration time.Duration // of the load in one topology
	Round    time.Duration
	Quiet    time.Duration // before the faults of a round begin
	Nodes    int
	Users    int
	Replicas int           // of a cluster's masters
	Skew     time.Duration // of some nodes' clocks; see skewOf
	Probes   int           // changes whose way to another node is measured
	Requests int           // of each node, that are measured without faults; 0 for none
	Faults   []string      // none for a quiet run
}

const (
	lease = 500 * time.Millisecond // of the invalidations
	slack = 50 * time.Millisecond

	// ageBound is the age at which a read is too old whatever goes wrong.
	ageBound = lease + slack

	// gapBound is how long a node may go on without noticing that it is notified of nothing, or that
	// it is connected to a server that its address has left, as docs/architecture.md states it.
	gapBound = 10*time.Second + ageBound
)

// DefaultOptions are a short run of everything.
func DefaultOptions() Options {
	return Options{Work: Work{Mode: modeChain, Workers: 4, Crowd: 8, Rate: 100, Audit: 0.002, Seed: 1},
		Duration: 10 * time.Second, Round: 5 * time.Second, Quiet: 1500 * time.Millisecond,
		Nodes: 3, Users: 100, Replicas: 1, Probes: 300, Requests: 4000}
}

// mostRounds bounds a run that goes on beyond its time.
const mostRounds = 20

// Run drives one topology, and returns what was found. It goes on beyond its time until
// each fault has come and enough was seen, within reason.
func Run(tb testing.TB, topology string, o Options) *Report {
	tb.Helper()
	w := newWorld(tb, topology, o)
	report := &Report{Topology: topology, Options: o, Faults: map[string]int{}}
	if o.Requests > 0 {
		report.Figures = w.figures()
	}
	random := rand.New(rand.NewPCG(o.Seed, 0))
	var list []fault
	for end, round := time.Now().Add(o.Duration), 1; time.Now().Before(end) || !report.complete() && round < mostRounds; round++ {
		list = w.round(report, round, list, random)
	}
	w.end()
	return report
}

// round is some load with faults, and then a quiet time in which everything that was
// acknowledged must be there. It has sessions of its own, so that rounds can be judged
// and forgotten one by one. It returns the faults that are still to come.
func (w *world) round(report *Report, round int, list []fault, random *rand.Rand) []fault {
	w.tb.Helper()
	var (
		records []Record
		stalls  []Stall
		timings []Timing
		quiet   Quiet
	)
	collect := func(answers []Answer) {
		for _, answer := range answers {
			records = append(records, answer.Records...)
			report.Failed += answer.Failed
			stalls = append(stalls, answer.Stalls...)
			timings = append(timings, answer.Timings...)
		}
	}
	w.gaps, w.sweeps = nil, nil
	collect(w.all(Ask{What: askBegin, Round: round}))
	w.evidence = w.tap()
	defer w.watchRoles(w.evidence)()
	w.all(Ask{What: askRun, Round: round})
	outsiders := w.startForeign(round)
	var (
		losses []Loss
		alone  bool // the sentinel has replaced a master that nothing was done to
	)
	w.unasked(0)
	quiet.From = now()
	wait(w.options.Quiet)
	for end := time.Now().Add(w.options.Round); ; {
		wait(some(random, 200*time.Millisecond, 700*time.Millisecond))
		if time.Now().After(end) {
			break
		}
		if len(list) == 0 {
			list = w.shuffled(random)
		}
		if len(list) == 0 {
			continue
		}
		if quiet.To == 0 {
			quiet.To = now()
		}
		alone = w.unasked(0) || alone
		began := now()
		loss := list[0].do(w, random, round)
		w.evidence.event(list[0].name, began)
		if loss != nil {
			losses = append(losses, *loss)
			alone = w.unasked(1) || alone
		}
		report.Faults[list[0].name]++
		list = list[1:]
	}
	if quiet.To == 0 {
		quiet.To = now()
	}
	collect(w.all(Ask{What: askHalt}))
	quiet.worst(stalls)
	report.judgeOutages(w.outages, timings)
	w.outages = nil
	records = append(records, outsiders.halt()...)
	ids := sessions(records)
	before := everything(ids, w.truth(round))
	wait(ageBound) // from now on every acknowledged write must be seen by all
	var last []Record
	report.Audits = Audits{}
	for _, answer := range w.all(Ask{What: askRead, IDs: ids}) {
		collect([]Answer{answer})
		last = append(last, answer.Records...)
		report.Audits.Same += answer.Audits.Same
		report.Audits.Changed += answer.Audits.Changed
		report.Audits.Differs += answer.Audits.Differs
	}
	report.Audits.Differs -= w.allowed
	after := everything(ids, w.truth(round))
	records = append(records, after...)
	records = append(records, swept(w.sweeps, ids)...)
	if w.unasked(0) || alone {
		report.Alone++ // what they have lost by it, and when, isn't known
		return list
	}
	if violations := report.judge(records, losses, quiet, w.gaps, Disagreeing(before, last, after)); len(violations) > 0 {
		report.Evidence = append(report.Evidence, w.keepEvidence(records, violations))
	}
	return list
}

// shuffled are all faults that the run knows, in some order.
func (w *world) shuffled(random *rand.Rand) []fault {
	list := slices.DeleteFunc(faults(w.topology), func(f fault) bool { return !slices.Contains(w.options.Faults, f.name) })
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func sessions(records []Record) (ids []string) {
	seen := map[string]bool{}
	for _, r := range records {
		if !seen[r.ID] {
			seen[r.ID] = true
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// everything adds the sessions that the masters don't have.
func everything(ids []string, held []Record) []Record {
	at, there := now(), map[string]bool{}
	for _, r := range held {
		there[r.ID] = true
		at = min(at, r.Start)
	}
	for _, id := range ids {
		if !there[id] {
			held = append(held, Record{Node: Truth, Kind: Read, ID: id, Absent: true, Start: at, End: at})
		}
	}
	return held
}
