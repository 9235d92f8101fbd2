package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var page string

// view is what the page shows of a run.
type view struct {
	Run      *Run
	Style    template.CSS
	Took     string
	Soon     string
	Reached  int
	First    []template.HTML
	Subjects []keeping
	Groups   []chapter
	Weights  template.HTML
}

type keeping struct {
	Name                                string
	Strata                              bool
	Isolated, Coherent, Updates, Logout string
	Outdated                            int64
}

type chapter struct {
	Title     string
	Workloads []section
}

type section struct {
	Title, Setup, Summary string
	Plot                  template.HTML
	Heads                 []string
	Rows                  []row
}

type row struct {
	Name     string
	Strata   bool
	Cells    []cell
	Outdated int64
}

type cell struct{ Text, Ratio string }

// HTML writes the run as one page that needs nothing else.
func (r *Run) HTML(to io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"digits": digits, "seconds": seconds, "count": count,
		"percent": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
		"ours":    func(subject string) bool { return subject == Ours || subject == Behind },
	}).Parse(page)
	if err != nil {
		return err
	}
	v := view{Run: r, Style: style, Took: time.Duration(r.Took * 1e9).Round(time.Second).String(), Soon: "250 ms"}
	for _, g := range r.Goals {
		if g.Measured && g.Reached {
			v.Reached++
		}
	}
	for _, p := range r.first([2]string{"read", "perSecond"}, [2]string{"zipf-95", "perSecond"}, [2]string{"link-95", "p50"},
		[2]string{"http-read", "perSecond"}, [2]string{"http-change", "perSecond"}) {
		v.First = append(v.First, template.HTML(svg([]plot{p}, false)))
	}
	for _, s := range r.Subjects {
		if !s.Floor {
			v.Subjects = append(v.Subjects, keeping{Name: s.Name, Strata: s.Strata, Isolated: yes(s.Keeps.Isolated, "yes", "no, shared"),
				Coherent: coherence(s), Updates: yes(s.Keeps.Updates, "both survive", "one is lost"),
				Logout: yes(s.Keeps.Logout, "holds", "is undone"), Outdated: r.outdated(s.Name)})
		}
	}
	for _, w := range r.Workloads {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Title != w.Group {
			v.Groups = append(v.Groups, chapter{Title: w.Group})
		}
		last := &v.Groups[len(v.Groups)-1]
		last.Workloads = append(last.Workloads, r.section(w))
	}
	if len(r.Memory) > 0 {
		v.Weights = template.HTML(svg([]plot{r.weights()}, false))
	}
	return t.Execute(to, v)
}

// outdated is over all workloads.
func (r *Run) outdated(subject string) (n int64) {
	for _, w := range r.Workloads {
		if e, ok := w.Entry(subject); ok {
			n += e.Outdated
		}
	}
	return n
}

func (r *Run) section(w Workload) section {
	s := section{Title: w.Title, Setup: w.Setup, Plot: template.HTML(svg([]plot{r.bars(w, metric("perSecond"))}, false)), Summary: w.summary()}
	for _, m := range Metrics {
		s.Heads = append(s.Heads, m.Title)
	}
	for _, e := range w.Entries {
		row := row{Name: e.Subject, Strata: class(e.Subject) != "peer", Outdated: e.Outdated}
		for _, m := range Metrics {
			c := cell{Text: m.Format(e.Figures[m.Key].Median)}
			switch {
			case m.Key == "perSecond":
				c.Ratio = times(e.Ratios[m.Key].Median) + ", " + spread(e.Figures[m.Key])
			case e.Figures[m.Key].Median != 0:
				c.Ratio = times(e.Ratios[m.Key].Median)
			}
			row.Cells = append(row.Cells, c)
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

// summary says where Strata stands, first or not.
func (w Workload) summary() string {
	ours, ok := w.Entry(Ours)
	if !ok {
		return "takes no part"
	}
	best, text := Entry{}, metric("perSecond").Format(ours.Figures["perSecond"].Median)+" requests/s"
	for _, e := range w.Entries {
		if class(e.Subject) == "peer" && e.Figures["perSecond"].Median > best.Figures["perSecond"].Median {
			best = e
		}
	}
	if best.Subject == "" {
		return text
	}
	return fmt.Sprintf("%s, %s the fastest peer (%s)", text, times(best.Ratios["perSecond"].Median), best.Subject)
}
