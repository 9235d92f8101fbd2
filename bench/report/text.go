package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Text writes the run as tables for a terminal.
func (r *Run) Text(to io.Writer) error {
	out := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	for _, w := range r.Workloads {
		w.text(out)
	}
	if len(r.Memory) > 0 {
		fmt.Fprintf(out, "\nMemory: %s cached sessions of %.0f B JSON\n", count(float64(r.Memory[0].Sessions)), r.Memory[0].Payload)
		fmt.Fprintln(out, "  subject\theap a session\tover its JSON\tcached\tGC share\tpause p99\tlongest\treads/s meanwhile")
		for _, m := range r.Memory {
			fmt.Fprintf(out, "  %s\t%.0f B\t%s\t%.1f %%\t%.1f %%\t%s\t%s\t%s\n", m.Subject, m.Session, times(m.PerPayload()),
				100*m.Cached, 100*m.GCShare, seconds(m.PauseP99), seconds(m.PauseMax), count(m.Reads))
		}
	}
	fmt.Fprintln(out, "\nWhat they keep\n  subject\tisolated\tcoherent\tupdates\tlog-out")
	for _, s := range r.Subjects {
		if !s.Floor {
			fmt.Fprintf(out, "  %s\t%s\t%s\t%s\t%s\n", s.Name, yes(s.Keeps.Isolated, "isolated", "shared"), coherence(s),
				yes(s.Keeps.Updates, "keeps", "loses"), yes(s.Keeps.Logout, "holds", "undone"))
		}
	}
	fmt.Fprintln(out, "\nGoals\n  \tgoal\tfound\tlow to high\t")
	for _, g := range r.Goals {
		found, between := "", ""
		if g.Measured {
			found, between = digits(g.Found.Median), digits(g.Found.Low)+" to "+digits(g.Found.High)
		}
		fmt.Fprintf(out, "  %s\t%s\t%s\t%s\t%s\n", g.Says, g.Bounds(), found, between, g.Verdict())
	}
	for _, m := range r.Missing {
		fmt.Fprintf(out, "\nNot measured: %s\n", m)
	}
	return out.Flush()
}

func (w Workload) text(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n  %s", w.Title, "subject\tStrata is")
	for _, m := range Metrics {
		fmt.Fprintf(out, "\t%s", m.Title)
	}
	fmt.Fprintln(out, "\toutdated\tspread")
	for _, e := range w.Entries {
		cells := []string{e.Subject, times(e.Ratios["perSecond"].Median)}
		for _, m := range Metrics {
			cells = append(cells, m.Format(e.Figures[m.Key].Median))
		}
		cells = append(cells, fmt.Sprint(e.Outdated), spread(e.Figures["perSecond"]))
		fmt.Fprintf(out, "  %s\n", strings.Join(cells, "\t"))
	}
}

func yes(is bool, word, other string) string {
	if is {
		return word
	}
	return other
}

// coherence says when a second node sees a write.
func coherence(s Subject) string {
	if !s.Keeps.Coherent {
		return "no"
	}
	return "after " + seconds(s.Keeps.Delay)
}
