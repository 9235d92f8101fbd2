package report

import (
	"fmt"

	"github.com/gf-strata/strata/bench/stats"
)

// The names that goals are about.
const (
	Ours   = "Strata"
	Behind = "Strata, write-behind"
)

// Goal is a ratio that was promised, and what the run found.
type Goal struct {
	Workload string       `json:"workload"`
	Says     string       `json:"says"`
	Most     bool         `json:"most"` // Bound is the most, or else the least
	Bound    float64      `json:"bound"`
	Found    stats.Figure `json:"found"`
	Measured bool         `json:"measured"`
	Reached  bool         `json:"reached"`
}

// Bounds is the goal in words.
func (g Goal) Bounds() string {
	if g.Most {
		return fmt.Sprintf("at most %g", g.Bound)
	}
	return fmt.Sprintf("at least %g", g.Bound)
}

// Verdict says in words what came of it.
func (g Goal) Verdict() string {
	switch {
	case !g.Measured:
		return "not measured"
	case g.Reached:
		return "reached"
	}
	return "not reached"
}

// Judge sets the goals of a run.
func (r *Run) Judge() {
	r.Goals = []Goal{
		r.ratio("read hit, Session API: time over StorageMemory's", "read", Ours, "StorageMemory", "perSecond", true, true, 1),
		r.ratio("GetSession hit, 10 keys: time over maps.Clone and a gmap", "hit", Ours, "maps.Clone + gmap", "perSecond", true, true, 1.5),
		r.ratio("GetSession hit, 10 keys: times as fast as rueidis DoCache and decode", "hit", Ours, "rueidis DoCache", "perSecond", false, false, 8),
		r.ratio("ghttp reads: requests/s over StorageMemory's", "http-read", Ours, "StorageMemory", "perSecond", false, false, 0.95),
		r.ratio("ghttp reads: requests/s over StorageRedis's", "http-read", Ours, "StorageRedis", "perSecond", false, false, 1.9),
		r.ratio("ghttp changes: requests/s over StorageRedis's", "http-change", Ours, "StorageRedis", "perSecond", false, false, 1.3),
		r.ratio("ghttp changes, write-behind: requests/s over StorageRedis's", "http-change", Behind, "StorageRedis", "perSecond", false, false, 2.5),
		r.figure("Zipf 95/5: Redis reads a request (StorageRedis: 1)", "zipf-95", "reads", 0.07),
		r.ratio("Zipf 95/5 over 1 ms: p50, times as low as StorageRedis's", "link-95", Ours, "StorageRedis", "p50", true, false, 20),
		r.weight("memory of a cached 10-key session over its JSON", 2.5),
	}
}

// ratio compares a metric of two subjects, round by round. inverse takes the peer's by
// ours.
func (r *Run) ratio(says, workload, ours, peer, metric string, inverse, most bool, bound float64) Goal {
	g := Goal{Workload: workload, Says: says, Most: most, Bound: bound}
	w, _ := r.Workload(workload)
	a, ok := w.Entry(ours)
	b, ok2 := w.Entry(peer)
	if !ok || !ok2 {
		return g
	}
	one, two := a.Rounds[metric], b.Rounds[metric]
	if inverse {
		one, two = two, one
	}
	return g.judged(stats.Ratio(one, two))
}

func (r *Run) figure(says, workload, metric string, most float64) Goal {
	g := Goal{Workload: workload, Says: says, Most: true, Bound: most}
	w, _ := r.Workload(workload)
	e, ok := w.Entry(Ours)
	if !ok {
		return g
	}
	return g.judged(e.Figures[metric])
}

func (r *Run) weight(says string, most float64) Goal {
	g := Goal{Workload: "memory", Says: says, Most: true, Bound: most}
	for _, w := range r.Memory {
		if w.Subject == Ours {
			return g.judged(stats.Of([]float64{w.PerPayload()}))
		}
	}
	return g
}

func (g Goal) judged(found stats.Figure) Goal {
	g.Found, g.Measured = found, true
	g.Reached = found.Median >= g.Bound
	if g.Most {
		g.Reached = found.Median <= g.Bound
	}
	return g
}
