package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Loss is a metric of a workload in which peers are better than Strata.
type Loss struct {
	Workload, Metric, Ours string
	Better                 []string // the best first
}

// tie is what isn't called a difference.
const tie = 0.02

// Losses are all of a run, of all workloads and metrics.
func (r *Run) Losses() (losses []Loss) {
	for _, w := range r.Workloads {
		ours, ok := w.Entry(Ours)
		if !ok {
			continue
		}
		for _, m := range Metrics {
			if loss := w.loss(m); len(loss) > 0 {
				losses = append(losses, Loss{w.Title, m.Title, m.figure(ours), loss})
			}
		}
	}
	return append(losses, r.heavier()...)
}

// better is a peer and by how much.
type better struct {
	by   float64
	text string
}

func sorted(all []better) (texts []string) {
	slices.SortStableFunc(all, func(a, b better) int { return cmp.Compare(b.by, a.by) })
	for _, b := range all {
		texts = append(texts, b.text)
	}
	return texts
}

// idle reports whether hardly a request had Redis run a command.
func (e Entry) idle() bool { return e.Figures["commands"].Median < 0.005 }

func (w Workload) loss(m Metric) []string {
	var all []better
	ours, _ := w.Entry(Ours)
	for _, e := range w.Entries {
		_, ok := e.Figures[m.Key]
		if !ok || class(e.Subject) != "peer" || m.Store && (ours.idle() || e.Figures["commands"].Median == 0) {
			continue // of Redis' figures only where both have something to do with it
		}
		ratio := e.Ratios[m.Key] // ours by theirs
		by := ratio.Median
		if m.More && by > 0 {
			by = 1 / by
		}
		if by > 1+tie {
			text := e.Subject + " " + m.against(theirs(m, by))
			if ratio.Low < 1 && ratio.High > 1 {
				text += " (within noise)"
			}
			all = append(all, better{by, text})
		}
	}
	return sorted(all)
}

// theirs is a peer's figure over ours, where it is so many times better.
func theirs(m Metric, by float64) float64 {
	if m.More {
		return by
	}
	return 1 / by
}

// heavier are the losses of full caches.
func (r *Run) heavier() (losses []Loss) {
	for _, what := range []struct {
		title  string
		of     func(Weight) float64
		format func(float64) string
	}{
		{"heap a session", func(w Weight) float64 { return w.Session }, size},
		{"CPU for the collector", Weight.Collector, func(v float64) string { return digits(100*v) + " %" }},
		{"longest pause", func(w Weight) float64 { return w.PauseMax }, seconds},
	} {
		ours := 0.0
		for _, w := range r.Memory {
			if w.Subject == Ours {
				ours = what.of(w)
			}
		}
		var all []better
		for _, w := range r.Memory {
			if v := what.of(w); w.Subject != Ours && v > 0 && ours > v*(1+tie) {
				all = append(all, better{ours / v, w.Subject + " " + inWords(v/ours, "lower", "higher")})
			}
		}
		if len(all) > 0 {
			losses = append(losses, Loss{"Full caches", what.title, what.format(ours), sorted(all)})
		}
	}
	return losses
}

// named is how many peers a loss names; the tables have them all.
const named = 3

// Text is the best peers in one line, and how many more there are.
func (l Loss) Text() string {
	text := strings.Join(l.Better[:min(named, len(l.Better))], ", ")
	if more := len(l.Better) - named; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
