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

func (w Workload) loss(m Metric) []string {
	var all []better
	ours, _ := w.Entry(Ours)
	for _, e := range w.Entries {
		f, ok := e.Figures[m.Key]
		if !ok || class(e.Subject) != "peer" {
			continue
		}
		ratio := e.Ratios[m.Key] // ours by theirs
		by := ratio.Median
		if m.More && by > 0 {
			by = 1 / by
		}
		switch {
		case !m.More && f.Median == 0 && ours.Figures[m.Key].Median > 0:
			all = append(all, better{1e9, fmt.Sprintf("%s (none)", e.Subject)})
		case by > 1+tie:
			text := fmt.Sprintf("%s (%s, %s", e.Subject, m.Format(f.Median), against(m.More, ratio2(m, by)))
			if ratio.Low < 1 && ratio.High > 1 {
				text += ", within noise"
			}
			all = append(all, better{by, text + ")"})
		}
	}
	return sorted(all)
}

// ratio2 is a peer's figure over ours, where it is so many times better.
func ratio2(m Metric, by float64) float64 {
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
				all = append(all, better{ours / v, fmt.Sprintf("%s (%s, %s)", w.Subject, what.format(v), against(false, v/ours))})
			}
		}
		if len(all) > 0 {
			losses = append(losses, Loss{"Full caches", what.title, what.format(ours), sorted(all)})
		}
	}
	return losses
}

// Text is the peers in one line.
func (l Loss) Text() string { return strings.Join(l.Better, ", ") }
