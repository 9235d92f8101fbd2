package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Markdown writes the run in short, for those who read the repository in a browser. page is the file
// that has all of it, and plot that of the key plot, or "" where there is none.
func (r *Run) Markdown(to io.Writer, page, plot string) error {
	var out bytes.Buffer
	line := func(cells ...string) { fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(cells ...string) {
		line(cells...)
		line(strings.Split(strings.Repeat("---,", len(cells)-1)+"---", ",")...)
	}
	m := r.Machine
	fmt.Fprintf(&out, "# Strata beside its peers\n\n%s. %s, %d cores, %s; %s, Redis %s; commit %s.\n", r.When.Format("2 January 2006"),
		m.CPU, m.Cores, m.OS, m.Go, m.Redis, m.Commit)
	fmt.Fprintf(&out, "All processes, redis-server and the load share the machine: ratios matter, not the figures.\n")
	if r.Quick {
		fmt.Fprintf(&out, "A quick run: it shows that everything works, and its figures mean little.\n")
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&out, "\n**%s**\n", warning)
	}
	fmt.Fprintf(&out, "\n[%s](%[1]s) has all of it: plots, percentiles, losses and noise, in one page without scripts. GitHub shows its source; "+
		"download it, or run `make bench` for one of your own machine.\n", page)
	if plot != "" {
		fmt.Fprintf(&out, "\n![Requests a second, of Strata and its peers](%s)\n", plot)
	}
	if beside := r.beside(); len(beside) > 0 {
		fmt.Fprintf(&out, "\n## Beside the StorageRedis that you have\n\nRequests a second, and commands that Redis is sent for a request.\n\n")
		head("requests", "StorageRedis", "Strata", "Strata is", "commands: StorageRedis", "Strata")
		for _, b := range beside {
			line(b.Workload, b.Redis, b.Ours, b.Is, b.Commands, b.OurCommands)
		}
	}
	fmt.Fprintf(&out, "\n## What each subject keeps\n\n")
	head("subject", "isolated", "coherent", "overlapping updates", "log-out", "reads that lacked a write")
	for _, k := range r.keepings() {
		line(k.Name, k.Isolated, k.Coherent, k.Updates, k.Logout, fmt.Sprint(k.Stale))
	}
	reached, measured := r.Count()
	fmt.Fprintf(&out, "\n## Goals\n\n%d of %d that were measured are reached.\n\n", reached, measured)
	head("what", "goal", "found", "low to high", "outcome")
	for _, g := range r.Goals {
		found, between := "", ""
		if g.Measured {
			found, between = digits(g.Found.Median), digits(g.Found.Low)+" to "+digits(g.Found.High)
		}
		line(g.Says, g.Bounds(), found, between, g.Verdict())
	}
	fmt.Fprintf(&out, "\n%d workloads have a metric in which a peer is better by more than 2 %%; the page lists each of them.\n", r.lost())
	_, err := out.WriteTo(to)
	return err
}

// lost is how many workloads have a loss.
func (r *Run) lost() int {
	workloads := map[string]bool{}
	for _, l := range r.Losses() {
		workloads[l.Workload] = true
	}
	return len(workloads)
}
