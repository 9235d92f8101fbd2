package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/gf-strata/strata/bench/stats"
)

// bar is one row of a plot.
type bar struct {
	name   string
	figure stats.Figure
	text   string // the figure with its unit
	ratio  string // of Strata's
	keeps  []mark
	class  string // of the bar's colour
}

// mark is whether a subject keeps something; known is false where that means nothing.
type mark struct{ kept, known bool }

// plot is horizontal bars, with a line from the lowest to the highest round, and what each
// subject keeps beside its speed. Where figures are orders of magnitude apart its axis is
// logarithmic, and says so.
type plot struct {
	title, note string
	format      func(float64) string // of the values on the grid lines
	bars        []bar
}

// The plot's columns and rows, in pixels.
const (
	plotWidth  = 914
	nameRight  = 178
	barLeft    = 188
	barWidth   = 300
	textRight  = 562
	ratioRight = 672
	marksLeft  = 712
	markWidth  = 57
	rowHeight  = 25
	headHeight = 76
	footHeight = 20
)

// kept are the heads of the marks.
var kept = []string{"isolated", "coherent", "updates", "log-out"}

// height is the plot's, in pixels.
func (p plot) height() int { return headHeight + rowHeight*len(p.bars) + footHeight }

// axis maps figures to pixels.
type axis struct {
	logs      bool
	low, high float64 // of the axis, or their logarithms
}

// far is how many times as large as the least figure the largest is on a linear axis.
const far = 20

func (p plot) axis() axis {
	least, most := math.Inf(1), 0.0
	for _, b := range p.bars {
		most = max(most, b.figure.High)
		if b.figure.Median > 0 {
			least = min(least, b.figure.Median)
		}
	}
	if most <= least*far {
		return axis{high: max(most, 1e-12)}
	}
	return axis{logs: true, low: math.Floor(math.Log10(least) - 0.1), high: math.Log10(most)}
}

// width is how far from the left a figure is.
func (a axis) width(v float64) float64 {
	if a.logs {
		v = math.Log10(max(v, 1e-300))
	}
	return barWidth * min(1, max(0, (v-a.low)/(a.high-a.low)))
}

// ticks are the values that have a grid line: the decades, or some four round numbers.
func (a axis) ticks() (all []float64) {
	if a.logs {
		for decade := math.Ceil(a.low); decade <= a.high; decade++ {
			all = append(all, math.Pow(10, decade))
		}
		for len(all) > 5 { // every other one
			kept := all[:0]
			for n := len(all)%2 ^ 1; n < len(all); n += 2 {
				kept = append(kept, all[n])
			}
			all = kept
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(a.high/2)))
	for _, times := range []float64{5, 2} {
		if a.high/(step*times) >= 2 {
			step *= times
			break
		}
	}
	for v := step; v <= a.high; v += step {
		all = append(all, v)
	}
	return all
}

// draw writes the plot's elements, moved down by y.
func (p plot) draw(out *strings.Builder, y int) {
	text := func(x, y int, class, s string) {
		fmt.Fprintf(out, `<text x="%d" y="%d" class="%s">%s</text>`, x, y, class, html.EscapeString(s))
	}
	a, note := p.axis(), p.note
	if a.logs {
		note += "; logarithmic"
	}
	text(0, y+18, "title", p.title)
	text(0, y+37, "note", note)
	text(ratioRight, y+headHeight-8, "note right", "Strata is")
	for n, head := range kept {
		text(marksLeft+n*markWidth, y+headHeight-8, "note middle", head)
	}
	for _, v := range a.ticks() {
		x := barLeft + a.width(v)
		fmt.Fprintf(out, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" class="grid"/>`, x, y+headHeight-2, x, y+headHeight+rowHeight*len(p.bars))
		text(int(x), y+headHeight-8, "note middle", p.format(v))
	}
	for n, b := range p.bars {
		top := y + headHeight + n*rowHeight
		middle := top + rowHeight/2
		text(nameRight, middle+4, "name right "+b.class, b.name)
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" class="bar %s"/>`,
			barLeft, top+5, max(1, a.width(b.figure.Median)), rowHeight-10, b.class)
		if b.figure.High > b.figure.Low {
			fmt.Fprintf(out, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" class="spread"/>`,
				barLeft+a.width(b.figure.Low), middle, barLeft+a.width(b.figure.High), middle)
		}
		text(textRight, middle+4, "value right", b.text)
		text(ratioRight, middle+4, "value right", b.ratio)
		for i, m := range b.keeps {
			x := marksLeft + i*markWidth
			switch {
			case !m.known:
				text(x, middle+4, "note middle", "–")
			case m.kept:
				text(x, middle+4, "kept middle", "yes")
			default:
				text(x, middle+4, "lost middle", "no")
			}
		}
	}
}

// style is the plot's, for both backgrounds. Its colours are the page's as well.
const style = `
.plot{--ink:#1c2430;--soft:#5b6675;--ours:#1f6feb;--behind:#0a8f83;--peer:#a9b4c2;--edge:#1c2430;--bad:#b3321b;--ground:#fff}
@media (prefers-color-scheme:dark){.plot{--ink:#e8edf3;--soft:#9aa7b6;--ours:#58a6ff;--behind:#3fc2b4;--peer:#56606d;--edge:#e8edf3;--bad:#ff8a70;--ground:#12161c}}
.plot text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
.plot .ground{fill:var(--ground)}
.plot .title{font-size:16px;font-weight:600}
.plot .note{font-size:11.5px;fill:var(--soft)}
.plot .right{text-anchor:end}
.plot .middle{text-anchor:middle}
.plot .kept{font-size:12px;fill:var(--soft)}
.plot .lost{font-size:12px;font-weight:600;fill:var(--bad)}
.plot .bar{fill:var(--peer)}
.plot .bar.ours{fill:var(--ours)}
.plot .bar.behind{fill:var(--behind)}
.plot .bar.twin{fill:var(--ours);opacity:.5}
.plot .bar.floor{opacity:.45}
.plot text.ours,.plot text.behind{font-weight:600}
.plot .spread{stroke:var(--edge);stroke-width:1.5;opacity:.65}
.plot .grid{stroke:var(--soft);stroke-width:1;opacity:.3}
`

// svg is plots one below the other as one picture. With a foot it stands alone: it brings
// its style and a background of its own, as a page may be dark where its reader's system
// isn't.
func svg(plots []plot, foot string) string {
	const gap, margin = 22, 16
	height := 0
	for _, p := range plots {
		height += p.height() + gap
	}
	var out strings.Builder
	names := make([]string, len(plots))
	for n, p := range plots {
		names[n] = p.title
	}
	open := func(namespace string, x, y, width, height int) {
		fmt.Fprintf(&out, `<svg%s class="plot" role="img" aria-label="%s" viewBox="%d %d %d %d" width="%d">`,
			namespace, html.EscapeString(strings.Join(names, "; ")), x, y, width, height, width)
	}
	if foot == "" {
		open("", -4, 0, plotWidth+4, height-gap+4)
	} else {
		width, height := plotWidth+2*margin, height+2*margin
		open(` xmlns="http://www.w3.org/2000/svg"`, -margin, -margin, width, height)
		fmt.Fprintf(&out, `<style>%s</style><rect x="%d" y="%d" width="%d" height="%d" rx="6" class="ground"/>`, style, -margin, -margin, width, height)
	}
	y := 0
	for _, p := range plots {
		p.draw(&out, y)
		y += p.height() + gap
	}
	if foot != "" {
		fmt.Fprintf(&out, `<text x="0" y="%d" class="note">%s</text>`, y, html.EscapeString(foot))
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// bars is a metric of a workload as a plot.
func (r *Run) bars(w Workload, m Metric) plot {
	p := plot{title: w.Title + ": " + m.Title, format: m.Format, note: "less is better; the line is from the lowest to the highest round"}
	if m.More {
		p.note = "more is better; the line is from the lowest to the highest round"
	}
	for _, e := range w.Entries {
		f, ok := e.Figures[m.Key]
		if !ok {
			continue
		}
		ratio := m.is(e)
		if e.Subject == Ours {
			ratio = ""
		}
		p.bars = append(p.bars, bar{name: e.Subject, figure: f, text: m.Format(f.Median), ratio: ratio,
			keeps: r.marks(e.Subject), class: class(e.Subject)})
	}
	return p
}

// weights is the memory of full caches as a plot.
func (r *Run) weights() plot {
	p := plot{title: "Memory of a cached 10-key session, over its JSON", format: times,
		note: fmt.Sprintf("less is better; %d sessions, each of %.0f B as JSON", r.Memory[0].Sessions, r.Memory[0].Payload)}
	ours := 0.0
	for _, m := range r.Memory {
		if m.Subject == Ours {
			ours = m.PerPayload()
		}
	}
	for _, m := range r.Memory {
		if m.Session == 0 {
			continue
		}
		ratio := inWords(ours/m.PerPayload(), "lower", "higher")
		if m.Subject == Ours {
			ratio = ""
		}
		p.bars = append(p.bars, bar{name: m.Subject, figure: stats.Of([]float64{m.PerPayload()}), ratio: ratio,
			text: times(m.PerPayload()), keeps: r.marks(m.Subject), class: class(m.Subject)})
	}
	return p
}

func (r *Run) marks(subject string) []mark {
	for _, s := range r.Subjects {
		if s.Name == subject {
			known := !s.Floor
			return []mark{{s.Keeps.Isolated, known}, {s.Keeps.Coherent, known}, {s.Keeps.Updates, known}, {s.Keeps.Logout, known}}
		}
	}
	return nil
}

func class(subject string) string {
	switch subject {
	case Ours:
		return "ours"
	case Behind:
		return "behind"
	case Again, Sampled:
		return "twin"
	case Nothing, Clone:
		return "floor"
	}
	return "peer"
}

// metric finds one by its key.
func metric(key string) Metric {
	for _, m := range Metrics {
		if m.Key == key {
			return m
		}
	}
	panic("report: no metric " + key)
}

// KeyPlot is the picture for the README: the most important figures.
func (r *Run) KeyPlot() string {
	foot := fmt.Sprintf("%s, commit %s. Everything on one machine with %d cores: redis-server over loopback, ratios matter, not the figures.",
		r.When.Format("2 January 2006"), r.Machine.Commit, r.Machine.Cores)
	plots := r.first([2]string{"read", "perSecond"}, [2]string{"link-95", "p50"})
	for n := range plots {
		plots[n].bars = slices.DeleteFunc(plots[n].bars, func(b bar) bool { return b.class == "twin" || b.class == "floor" })
	}
	return svg(plots, foot)
}

// first are plots of workloads and metrics, of those that were measured.
func (r *Run) first(keys ...[2]string) (plots []plot) {
	for _, key := range keys {
		if w, ok := r.Workload(key[0]); ok {
			plots = append(plots, r.bars(w, metric(key[1])))
		}
	}
	return plots
}
