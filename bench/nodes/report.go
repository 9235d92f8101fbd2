package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is what a run in one topology found. It belongs to the driver's goroutine.
type Report struct {
	Topology   string
	Options    Options
	Rounds     int
	Alone      int           // rounds that can't be judged, as the sentinel failed over by itself
	Quiet      int           // rounds that began with a quiet time which could be judged
	Stall      time.Duration // the worst in these
	Records    int
	Reads      int
	Unanswered int // writes whose outcome isn't known
	Failed     int // reads that returned an error
	Faults     map[string]int
	Ages       Ages
	InGaps     Ages // of reads while a node needn't know that it is notified of nothing
	Carried    int
	Expired    int
	ServerLost int
	Histories  int
	Unknown    int
	Counts     map[Law]int
	Examples   []Violation
	Evidence   []string // folders with the histories of sessions that a law was broken for

	Figures
	Audits     Audits
	Outages    Ages // durations of requests while the chains knew of an outage
	Recoveries Ages // of each outage, until the last request that failed began
}

// judge checks the records of a round, and returns what was broken, with what is known to be.
func (r *Report) judge(records []Record, losses []Loss, quiet Quiet, gaps []Gap, known []Violation) []Violation {
	r.Rounds++
	r.Records += len(records)
	for _, record := range records {
		if record.Outcome == Maybe {
			r.Unanswered++
		}
	}
	if quiet.judged() {
		r.Quiet++
		r.Stall = max(r.Stall, time.Duration(quiet.Stall))
	}
	verdict := Check(records, Bounds{int64(ageBound), gaps}, losses, quiet)
	r.Reads += verdict.Reads
	r.Carried += verdict.Carried
	r.Expired += verdict.Expired
	r.Ages.All = append(r.Ages.All, verdict.Ages.All...)
	r.InGaps.All = append(r.InGaps.All, verdict.InGaps.All...)
	for n := range losses {
		r.ServerLost += losses[n].Writes
	}
	violations := append(verdict.Violations, known...)
	if len(losses) == 0 { // what the servers have lost has no order
		checked, unknown, more := Linearizable(records)
		r.Histories += checked
		r.Unknown += unknown
		violations = append(violations, more...)
	}
	for _, v := range violations {
		if r.Counts == nil {
			r.Counts = map[Law]int{}
		}
		r.Counts[v.Law]++
		if v.Text != "" && r.Counts[v.Law] <= kept {
			r.Examples = append(r.Examples, v)
		}
	}
	return violations
}

// leastReads is how many reads prove something.
const leastReads = 1000

// complete reports whether each fault that the topology knows has come, and enough was
// seen.
func (r *Report) complete() bool {
	if r.Reads < leastReads || r.Expired == 0 {
		return false
	}
	for _, f := range faults(r.Topology) {
		if slices.Contains(r.Options.Faults, f.name) && r.Faults[f.name] == 0 {
			return false
		}
	}
	return true
}

// Violations is how many there are, of all laws.
func (r *Report) Violations() (n int) {
	for _, count := range r.Counts {
		n += count
	}
	return n
}

// Unreached is what was expected and isn't so.
func (r *Report) Unreached() (texts []string) {
	expect := func(met bool, format string, args ...any) {
		if !met {
			texts = append(texts, fmt.Sprintf(format, args...))
		}
	}
	expect(r.Audits.Differs == 0, "no audited hit differs from the store beyond what is allowed")
	expect(r.Outages.Quantile(0.99) < mostOutage, "a request's p99 under %v in an outage", mostOutage)
	expect(r.Recoveries.Quantile(1) <= mostRecovery, "no failure %v after an outage", mostRecovery)
	return append(texts, r.unreached()...)
}

// Print writes a line for each thing that was looked at, those that are as they should be included, and
// details only of what isn't.
func (r *Report) Print(out io.Writer) {
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(out, "  %-15s %s\n", name, fmt.Sprintf(format, args...))
	}
	o := r.Options
	_, _ = fmt.Fprintf(out, "%s: %d nodes, %d users, %d rounds, seed %d\n", r.Topology, o.Nodes, o.Users, r.Rounds, o.Seed)
	line("laws", "%d reads checked, %d violations", r.Reads, r.Violations())
	for law, n := range r.Counts {
		line("! "+string(law), "%d", n)
	}
	for _, v := range r.Examples {
		line("! "+string(v.Law), "%s", v.Text)
	}
	for _, folder := range r.Evidence {
		line("! history", "%s", folder)
	}
	line("fresh", "%.1f %% of the reads showed the newest write; the others were behind by %s, at most %v (bound %v)",
		100-100*float64(len(r.Ages.All))/float64(max(r.Reads, 1)), r.Ages.quantiles(), round(r.Ages.Quantile(1)), ageBound)
	if r.Faults["redial"] > 0 {
		line("", "after a silent redial %d more were behind by at most %v (bound %v)", len(r.InGaps.All), round(r.InGaps.Quantile(1)), gapBound)
	}
	if o.Requests > 0 {
		line("without faults", "invalidation delay %s (%d changes)", r.Delays.quantiles(), len(r.Delays.All))
		line("", "%.3f Redis reads a request, of which 95 %% read; %d of %d reads of own writes asked Redis", r.RedisReads, r.ownMisses(), r.OwnReads)
		for why, n := range r.OwnMisses {
			line("", "%d, as memory's state was: %s", n, why)
		}
		if r.busy() {
			line("", "times aren't judged, as other programs used %.0f %% of the machine's CPU time", 100*r.Others)
		}
	}
	if len(r.Recoveries.All) > 0 {
		line("in an outage", "a request took %s (%d requests)", r.Outages.quantiles(), len(r.Outages.All))
		line("", "the last request that failed began %v after its end at most (%d outages)", round(r.Recoveries.Quantile(1)), len(r.Recoveries.All))
	}
	line("also checked", "%d histories of one node for linearizability, %d were too hard; %d audited hits, %d of which differ from the store",
		r.Histories, r.Unknown, r.Audits.Same+r.Audits.Changed+r.Audits.Differs, r.Audits.Differs)
	line("", "%d rounds that began without faults, the worst stall was %v; %d reads that found none, as it had expired", r.Quiet, round(r.Stall), r.Expired)
	line("load", "%d operations; %d reads failed, and of %d writes the outcome isn't known", r.Records, r.Failed, r.Unanswered)
	line("faults", "%s", r.faults())
	line("not judged", "%d acknowledged writes that the servers lost, %d keys carried into a log-in of the same id", r.ServerLost, r.Carried)
	if r.Alone > 0 {
		line("", "%d rounds, as the sentinel failed over unasked", r.Alone)
	}
	for _, text := range r.Unreached() {
		line("! not reached", "%s", text)
	}
}

func (r *Report) faults() string {
	var all []string
	for name, n := range r.Faults {
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(all)
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}
