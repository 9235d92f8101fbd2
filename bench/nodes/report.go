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

// judge checks the records of a round, and returns what was broken.
func (r *Report) judge(records []Record, losses []Loss, quiet Quiet, gaps []Gap) []Violation {
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
	violations := verdict.Violations
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

// Print writes the table.
func (r *Report) Print(out io.Writer) {
	line := func(name string, format string, args ...any) {
		_, _ = fmt.Fprintf(out, "  %-44s %s\n", name, fmt.Sprintf(format, args...))
	}
	o := r.Options
	_, _ = fmt.Fprintf(out, "%s: %d nodes, %d users, %d rounds, seed %d, bound %v (lease %v)\n", r.Topology, o.Nodes, o.Users, r.Rounds, o.Seed, ageBound, lease)
	line("faults", "%s", r.faults())
	line("operations, failed reads, unknown writes", "%d, %d, %d", r.Records, r.Failed, r.Unanswered)
	line("reads checked", "%d", r.Reads)
	line("stale reads", "%d", len(r.Ages.All))
	for _, text := range r.Ages.Histogram(ageBound) {
		line("", "%s", text)
	}
	beyond := r.Ages.Beyond(ageBound)
	line("older than the bound", "%d (%.6f of all reads)", beyond, float64(beyond)/float64(max(r.Reads, 1)))
	if r.Faults["redial"] > 0 {
		line("stale after a silent redial, the oldest", "%d, %v (bound %v)", len(r.InGaps.All), round(r.InGaps.Quantile(1)), gapBound)
	}
	for _, law := range []Law{Stale, Late, Backwards, OwnWrite, Resurrected, Expired, Lost, Invented, NotLinear} {
		line("violations: "+string(law), "%d", r.Counts[law])
	}
	if r.Topology == sentinel {
		line("rounds not judged: an unasked failover", "%d", r.Alone)
	}
	line("quiet times judged, worst stall in them", "%d, %v", r.Quiet, round(r.Stall))
	line("histories of one node, too hard", "%d, %d", r.Histories, r.Unknown)
	line("acknowledged writes that the servers lost", "%d", r.ServerLost)
	line("reads that found none, as it had expired", "%d", r.Expired)
	line("keys carried into a log-in of the same id", "%d", r.Carried)
	if o.Requests > 0 {
		line("invalidation delay p50, p99, p99.9", "%v, %v, %v (%d changes)", round(r.Delays.Quantile(0.5)), round(r.Delays.Quantile(0.99)), round(r.Delays.Quantile(0.999)), len(r.Delays.All))
		line("Redis reads a request, 95 % reads", "%.3f", r.RedisReads)
		line("reads of own writes that asked Redis", "%d of %d", r.ownMisses(), r.OwnReads)
		for why, n := range r.OwnMisses {
			line("", "%s %d", why, n)
		}
		if r.busy() {
			line("times not judged on a busy machine", "others used %.0f %% of its CPU time", 100*r.Others)
		}
	}
	if len(r.Recoveries.All) > 0 {
		line("requests in an outage p50, p99, p99.9", "%v, %v, %v (%d requests)", round(r.Outages.Quantile(0.5)), round(r.Outages.Quantile(0.99)), round(r.Outages.Quantile(0.999)), len(r.Outages.All))
		line("last failure after an outage, the worst", "%v (%d outages)", round(r.Recoveries.Quantile(1)), len(r.Recoveries.All))
	}
	line("audited hits: same, changed, different", "%d, %d, %d", r.Audits.Same, r.Audits.Changed, r.Audits.Differs)
	for _, text := range r.Unreached() {
		line("not reached", "%s", text)
	}
	for _, v := range r.Examples {
		line("! "+string(v.Law), "%s", v.Text)
	}
	for _, folder := range r.Evidence {
		line("the whole history", "%s", folder)
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

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
