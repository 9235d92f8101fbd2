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
	Run               *Run
	Style             template.CSS
	Took              string
	Reached, Measured int
	Noise             []noise
	Losses            []loss
	Beside            []beside
	First             []template.HTML
	Subjects          []keeping
	Groups            []chapter
	Weights           template.HTML
}

// noise is what comes of comparing Strata with itself.
type noise struct{ Title, Ratio, Spread string }

// loss is the losses of one workload.
type loss struct {
	Workload string
	Of       []Loss
}

// beside is a workload of StorageRedis and of Strata.
type beside struct{ Workload, Redis, Ours, Is, Commands, OurCommands string }

type keeping struct {
	Name                                string
	Strata                              bool
	Isolated, Coherent, Updates, Logout string
	Stale                               int64
}

type chapter struct {
	Title     string
	Workloads []section
}

type section struct {
	Title, Setup, Summary string
	Plot                  template.HTML
	Tables                [2]table
}

// table is some of the metrics, of all subjects.
type table struct {
	Heads []string
	Rows  []row
}

type row struct {
	Name   string
	Strata bool
	Cells  []cell
}

type cell struct{ Text, Ratio string }

// HTML writes the run as one page that needs nothing else.
func (r *Run) HTML(to io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"digits": digits, "seconds": seconds, "count": count, "size": size,
		"percent": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
		"ours":    func(subject string) bool { return class(subject) == "ours" },
	}).Parse(page)
	if err != nil {
		return err
	}
	v := view{Run: r, Style: style, Took: time.Duration(r.Took * 1e9).Round(time.Second).String(), Noise: r.noise()}
	v.Reached, v.Measured = r.Count()
	v.Beside = r.beside()
	for _, l := range r.Losses() {
		if n := len(v.Losses); n == 0 || v.Losses[n-1].Workload != l.Workload {
			v.Losses = append(v.Losses, loss{Workload: l.Workload})
		}
		last := &v.Losses[len(v.Losses)-1]
		last.Of = append(last.Of, l)
	}
	for _, p := range r.first([2]string{"read", "perSecond"}, [2]string{"zipf-95", "perSecond"}, [2]string{"link-95", "p50"},
		[2]string{"http-read", "perSecond"}, [2]string{"http-change", "perSecond"}) {
		v.First = append(v.First, template.HTML(svg([]plot{p}, "")))
	}
	v.Subjects = r.keepings()
	for _, w := range r.Workloads {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Title != w.Group {
			v.Groups = append(v.Groups, chapter{Title: w.Group})
		}
		last := &v.Groups[len(v.Groups)-1]
		last.Workloads = append(last.Workloads, r.section(w))
	}
	if len(r.Memory) > 0 {
		v.Weights = template.HTML(svg([]plot{r.weights()}, ""))
	}
	return t.Execute(to, v)
}

// keepings are what each subject keeps.
func (r *Run) keepings() (all []keeping) {
	for _, s := range r.Subjects {
		if !s.Floor {
			all = append(all, keeping{Name: s.Name, Strata: s.Strata, Isolated: yes(s.Keeps.Isolated, "yes", "no, shared"),
				Coherent: coherence(s), Updates: yes(s.Keeps.Updates, "both survive", "one is lost"),
				Logout: yes(s.Keeps.Logout, "holds", "is undone"), Stale: r.stale(s.Name)})
		}
	}
	return all
}

// beside compares Strata with the store that most of its users have.
func (r *Run) beside() (all []beside) {
	speed, commands := metric("perSecond"), metric("commands")
	for _, w := range r.Workloads {
		ours, ok := w.Entry(Ours)
		redis, ok2 := w.Entry(StorageRedis)
		if ok && ok2 {
			all = append(all, beside{w.Title, speed.figure(redis), speed.figure(ours), speed.is(redis), commands.figure(redis), commands.figure(ours)})
		}
	}
	return all
}

// noise is of the workloads in which Strata takes part twice.
func (r *Run) noise() (all []noise) {
	for _, w := range r.Workloads {
		if e, ok := w.Entry(Again); ok {
			f := e.Ratios["perSecond"]
			all = append(all, noise{w.Title, times(f.Median), times(f.Low) + " to " + times(f.High)})
		}
	}
	return all
}

// stale adds up all workloads.
func (r *Run) stale(subject string) (n int64) {
	for _, w := range r.Workloads {
		if e, ok := w.Entry(subject); ok {
			n += e.Stale
		}
	}
	return n
}

func (r *Run) section(w Workload) section {
	s := section{Title: w.Title, Setup: w.Setup, Plot: template.HTML(svg([]plot{r.bars(w, metric("perSecond"))}, "")), Summary: w.summary()}
	if w.Distinct > 0 {
		s.Setup += fmt.Sprintf(" A round of Strata's visited %d distinct sessions at most.", w.Distinct)
	}
	for n := range s.Tables {
		s.Tables[n] = w.table(n == 1)
	}
	return s
}

// table has the metrics of the process, or those of its store.
func (w Workload) table(store bool) (t table) {
	for _, e := range w.Entries {
		row := row{Name: e.Subject, Strata: class(e.Subject) != "peer" && class(e.Subject) != "floor"}
		for _, m := range Metrics {
			if m.Store != store {
				continue
			}
			if len(t.Rows) == 0 {
				t.Heads = append(t.Heads, m.Title)
			}
			c := cell{Text: m.figure(e)}
			if e.Subject != Ours {
				c.Ratio = m.is(e)
			}
			if m.Key == "perSecond" {
				c.Ratio += " " + spread(e.Figures[m.Key])
			}
			row.Cells = append(row.Cells, c)
		}
		if store {
			row.Cells = append(row.Cells, cell{Text: fmt.Sprint(e.Stale)})
		}
		t.Rows = append(t.Rows, row)
	}
	if store {
		t.Heads = append(t.Heads, "outdated")
	}
	return t
}

// summary says where Strata stands, first or not.
func (w Workload) summary() string {
	ours, ok := w.Entry(Ours)
	if !ok {
		return "takes no part"
	}
	m := metric("perSecond")
	best, text := Entry{}, m.figure(ours)+" requests/s"
	for _, e := range w.Entries {
		if class(e.Subject) == "peer" && e.Figures[m.Key].Median > best.Figures[m.Key].Median {
			best = e
		}
	}
	if best.Subject == "" {
		return text
	}
	return fmt.Sprintf("%s, %s than the fastest peer (%s)", text, m.is(best), best.Subject)
}
