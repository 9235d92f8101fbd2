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
		fmt.Fprintf(out, "  subject\theap a session\tover its JSON\tcached\tcollector at %s reads/s\ta cycle\tpause p99\tlongest\n", count(r.ReadRate))
		for _, m := range r.Memory {
			heap, over := "–", "–"
			if m.Session > 0 {
				heap, over = size(m.Session), times(m.PerPayload())
			}
			fmt.Fprintf(out, "  %s\t%s\t%s\t%.1f %%\t%.1f %% of a core\t%s\t%s\t%s\n", m.Subject, heap, over,
				100*m.Cached, 100*m.Collector(), seconds(m.Cycle), seconds(m.PauseP99), seconds(m.PauseMax))
		}
	}
	fmt.Fprintln(out, "\nWhat they keep\n  subject\tisolated\tcoherent\tupdates\tlog-out")
	for _, s := range r.Subjects {
		if !s.Floor {
			fmt.Fprintf(out, "  %s\t%s\t%s\t%s\t%s\n", s.Name, yes(s.Keeps.Isolated, "isolated", "shared"), coherence(s),
				yes(s.Keeps.Updates, "keeps", "loses"), yes(s.Keeps.Logout, "holds", "undone"))
		}
	}
	reached, measured := r.Count()
	fmt.Fprintf(out, "\nGoals: %d of %d that were measured are reached\n  \tgoal\tfound\tlow to high\t\n", reached, measured)
	for _, g := range r.Goals {
		found, between := "", ""
		if g.Measured {
			found, between = digits(g.Found.Median), digits(g.Found.Low)+" to "+digits(g.Found.High)
		}
		fmt.Fprintf(out, "  %s\t%s\t%s\t%s\t%s\n", g.Says, g.Bounds(), found, between, g.Verdict())
		for _, text := range []string{g.Beside, g.Why()} {
			if text != "" {
				fmt.Fprintf(out, "    %s\n", text)
			}
		}
	}
	if noise := r.noise(); len(noise) > 0 {
		fmt.Fprintln(out, "\nStrata beside itself, requests/s: what noise makes of a ratio")
		for _, n := range noise {
			fmt.Fprintf(out, "  %s\t%s\t%s\n", n.Title, n.Ratio, n.Spread)
		}
	}
	fmt.Fprintln(out, "\nWhere a peer is faster or smaller")
	for _, l := range r.Losses() {
		fmt.Fprintf(out, "  %s, %s (%s): %s\n", l.Workload, l.Metric, l.Ours, l.Text())
	}
	fmt.Fprintln(out, "\nTime")
	for _, p := range r.Parts {
		fmt.Fprintf(out, "  %s\t%.0f s\n", p.Title, p.Took)
	}
	for _, text := range r.Warnings {
		fmt.Fprintf(out, "\nWARNING: %s\n", text)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(out, "\nNot measured: %s\n", m)
	}
	return out.Flush()
}

func (w Workload) text(out io.Writer) {
	for _, store := range []bool{false, true} {
		t := w.table(store)
		title := w.Title
		if store {
			title += ": Redis and the cache, a request"
		}
		fmt.Fprintf(out, "\n%s\n  subject\t%s\n", title, strings.Join(t.Heads, "\t"))
		for _, row := range t.Rows {
			fmt.Fprintf(out, "  %s", row.Name)
			for _, c := range row.Cells {
				fmt.Fprintf(out, "\t%s", c.Text)
			}
			fmt.Fprintln(out)
		}
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
