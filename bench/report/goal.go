package report

import (
	"fmt"

	"github.com/gf-strata/strata/bench/stats"
)

// The names that goals and comparisons are about.
const (
	Ours    = "Strata"
	Again   = "Strata again" // the same, so that its ratio is the noise
	Behind  = "Strata, write-behind"
	Sampled = "Strata, traced"
	Nothing = "no session at all"
	Clone   = "maps.Clone + gmap"

	StorageRedis = "StorageRedis"
)

// Goal is a ratio that was promised, and what the run found.
type Goal struct {
	Workload string       `json:"workload"`
	Says     string       `json:"says"`
	Most     bool         `json:"most"` // Bound is the most, or else the least
	Bound    float64      `json:"bound"`
	Found    stats.Figure `json:"found"`
	Beside   string       `json:"beside,omitempty"` // another figure that belongs to it
	Reason   string       `json:"reason"`           // what it is due to where it isn't reached
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

// Noisy reports whether some rounds say one thing and some the other.
func (g Goal) Noisy() bool { return g.Measured && g.Found.Low < g.Bound && g.Found.High > g.Bound }

// Verdict says in words what came of it.
func (g Goal) Verdict() string {
	switch {
	case !g.Measured:
		return "not measured"
	case g.Noisy() && g.Reached:
		return "within noise, the median reaches it"
	case g.Noisy():
		return "within noise, the median doesn't reach it"
	case g.Reached:
		return "reached"
	}
	return "not reached"
}

// Why is the reason of a goal that isn't reached. One that is missing is said too.
func (g Goal) Why() string {
	switch {
	case !g.Measured || g.Reached:
		return ""
	case g.Reason == "":
		return "NOBODY HAS SAID WHY."
	}
	return g.Reason
}

// Count is how many goals were measured and how many of those are reached.
func (r *Run) Count() (reached, measured int) {
	for _, g := range r.Goals {
		if g.Measured {
			measured++
		}
		if g.Measured && g.Reached {
			reached++
		}
	}
	return reached, measured
}

// Judge sets the goals of a run.
func (r *Run) Judge() {
	r.Goals = []Goal{
		r.compared("read hit, Session API: time over StorageMemory's", "read", Ours, "StorageMemory", "perSecond", true, true, 1,
			"StorageMemory hands every request the one map that it holds. Strata makes each a map of its own, so that no request sees what another one does: "+
				"the copy takes about a third of the request, and the collector's work for it another; see ristretto by hand, which copies too. "+
				"The rest is the look whether the session is still current."),
		r.compared("GetSession hit, 10 keys: time over maps.Clone and a gmap", "hit", Ours, Clone, "perSecond", true, true, 1.5,
			"Beside the copy a hit pays for the look into the cache, the check that nothing has invalidated it, the memory of what the map was made of, and its metrics."),
		r.compared("GetSession hit, 10 keys: times as fast as rueidis DoCache and decode", "hit", Ours, "rueidis DoCache", "perSecond", false, false, 8,
			"Both hand out a map of ten keys, and making it is the greater part of Strata's time; only the rest of the peer's, the decoding, is saved. It grows with the values: see 2 KiB."),
		r.compared("ghttp reads: requests/s over StorageMemory's", "http-read", Ours, "StorageMemory", "perSecond", false, false, 0.95,
			"The copy of the session, and its share of the collector's work, is more than a twentieth of so small a request."),
		r.compared("ghttp reads: requests/s over StorageRedis's", "http-read", Ours, StorageRedis, "perSecond", false, false, 1.9,
			"ghttp and the load generator take most of the machine's cores, as the floor without sessions shows; what is left to save is the store's part."),
		r.compared("ghttp changes: requests/s over StorageRedis's", "http-change", Ours, StorageRedis, "perSecond", false, false, 1.3,
			"Each change waits for Redis, as StorageRedis's does. Strata saves the read before it, and pays with a script that compares before it writes, so that no update is lost: it costs the server more than a SETEX."),
		r.compared("ghttp changes, write-behind: requests/s over StorageRedis's", "http-change", Behind, StorageRedis, "perSecond", false, false, 2.5,
			"The changes are in Redis before the round's time ends, and the cores that commit them are those that serve; ghttp and the load generator take most of both."),
		r.reads(),
		r.compared("Zipf 95/5 over 1 ms: p50, times as low as StorageRedis's", "link-95", Ours, StorageRedis, "p50", true, false, 20,
			"Where more than half of the requests miss, p50 is a round trip."),
		r.weight("memory of a cached 10-key session over its JSON", 2.5,
			"A session rests packed, in less than its JSON takes; to that come its id, its entry in the cache with what says whether it is current, and the cache's "+
				"own table and counters, which are there for each session of ten keys as for one of a hundred."),
	}
}

// compared compares a metric of two subjects. inverse takes the peer's by ours.
func (r *Run) compared(says, workload, ours, peer, metric string, inverse, most bool, bound float64, reason string) Goal {
	g := Goal{Workload: workload, Says: says, Most: most, Bound: bound, Reason: reason}
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
	return g.judged(ratio(one, two))
}

// reads is judged by the reads that Redis is sent, whether or not a caller waits for them. The GET with which
// a commit's script compares is a part of a write, and stands beside it.
func (r *Run) reads() Goal {
	g := Goal{Workload: "zipf-95", Says: "Zipf 95/5: reads sent to Redis a request (StorageRedis: 1)", Most: true, Bound: 0.07,
		Reason: "The node reads its own write again in the background, as an invalidation doesn't say whose write it is about."}
	w, _ := r.Workload(g.Workload)
	e, ok := w.Entry(Ours)
	if !ok {
		return g
	}
	gets, waited := metric("gets"), metric("waited")
	g.Beside = "with the GET in each commit's script " + gets.figure(e) + "; waited for by a request " + waited.figure(e)
	return g.judged(e.Figures["reads"])
}

func (r *Run) weight(says string, most float64, reason string) Goal {
	g := Goal{Workload: "memory", Says: says, Most: true, Bound: most, Reason: reason}
	for _, w := range r.Memory {
		if w.Subject == Ours && w.Session > 0 {
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
