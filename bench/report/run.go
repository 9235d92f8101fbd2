// Package report keeps what a run has measured, and shows it: as a table on a terminal,
// as JSON, as one HTML page and as a plot for the README.
package report

import (
	"math"
	"time"

	"github.com/gf-strata/strata/bench/stats"
	"github.com/gf-strata/strata/bench/worker"
)

// Run is all of a run. It is what results/latest.json holds.
type Run struct {
	When      time.Time  `json:"when"`
	Took      float64    `json:"took"` // seconds
	Quick     bool       `json:"quick"`
	Machine   Machine    `json:"machine"`
	Subjects  []Subject  `json:"subjects"`
	Goals     []Goal     `json:"goals"`
	Workloads []Workload `json:"workloads"`
	Memory    []Weight   `json:"memory"`
	Missing   []string   `json:"missing,omitempty"`  // what could not be measured, and why
	Warnings  []string   `json:"warnings,omitempty"` // what makes figures doubtful
	Parts     []Part     `json:"parts"`
	Live      int        `json:"live"`     // other sessions that each process holds
	CacheTTL  float64    `json:"cacheTTL"` // seconds of a subject's own turns
	ReadRate  float64    `json:"readRate"` // a second, of full caches
}

// Part is a part of the run, and how many seconds it took.
type Part struct {
	Title string  `json:"title"`
	Took  float64 `json:"took"`
}

// Machine is where it ran, and what.
type Machine struct {
	Commit string `json:"commit"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // average over a minute, when it began
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	OS     string `json:"os"`
	Go     string `json:"go"`
	Redis  string `json:"redis"`
}

// Subject is one that was measured.
type Subject struct {
	Name   string       `json:"name"`
	Setup  string       `json:"setup"`
	Strata bool         `json:"strata"`
	Floor  bool         `json:"floor,omitempty"`
	Keeps  worker.Keeps `json:"keeps"`
}

// Workload is one kind of request, and what all subjects made of it.
type Workload struct {
	Name     string  `json:"name"`
	Title    string  `json:"title"`
	Group    string  `json:"group"`
	Setup    string  `json:"setup"`
	Turns    int     `json:"turns"`
	Distinct int     `json:"distinct,omitempty"` // sessions that one of Strata's rounds visited, at most
	Entries  []Entry `json:"entries"`
}

// Entry is one subject's part of a workload. A ratio is Strata's median by this one's, so that
// it is the ratio of the two figures that are shown, from the lowest to the highest of the
// rounds that were neighbours. A metric that means nothing for a subject is in none of its maps.
type Entry struct {
	Subject  string                  `json:"subject"`
	Figures  map[string]stats.Figure `json:"figures"`
	Ratios   map[string]stats.Figure `json:"ratios"`
	Rounds   map[string][]float64    `json:"rounds"`
	Stale    int64                   `json:"outdated"` // results older than a write that had returned
	Requests int                     `json:"requests"`
}

// Weight is one subject's full cache.
type Weight struct {
	Subject string `json:"subject"`
	worker.Memory
}

// PerPayload is the memory of a cached session over its JSON.
func (w Weight) PerPayload() float64 { return w.Session / w.Payload }

// Collector is the part of one core that the collector takes at the run's rate of reads.
func (w Weight) Collector() float64 {
	if w.Interval == 0 {
		return 0
	}
	return w.Cycle / w.Interval
}

// Metric is one figure of a round.
type Metric struct {
	Key, Title string
	More       bool // more is better
	Store      bool // of Redis and the cache before it
	of         func(worker.Round) float64
	pooled     func(worker.Round) float64 // of all rounds as one, where one alone has too few requests
}

// Metrics are all figures of a round, in the order of the report.
var Metrics = []Metric{
	{"perSecond", "requests/s", true, false, func(r worker.Round) float64 { return float64(r.Requests) / r.Elapsed.Seconds() }, nil},
	{"p50", "p50", false, false, quantile(0.5, 1), nil},
	{"p99", "p99", false, false, quantile(0.99, 500), quantile(0.99, 300)},
	{"p999", "p99.9", false, false, quantile(0.999, 10_000), quantile(0.999, 3000)},
	{"cpu", "CPU, process", false, false, func(r worker.Round) float64 { return per(r, r.Usage.CPU) }, nil},
	{"allocs", "allocations", false, false, func(r worker.Round) float64 { return per(r, float64(r.Usage.Allocs)) }, nil},
	{"bytes", "bytes allocated", false, false, func(r worker.Round) float64 { return per(r, float64(r.Usage.Bytes)) }, nil},
	{"redisCPU", "CPU, Redis", false, true, func(r worker.Round) float64 { return per(r, r.Usage.RedisCPU) }, nil},
	{"commands", "commands", false, true, func(r worker.Round) float64 { return per(r, r.Usage.Commands) }, nil},
	{"gets", "GETs (commandstats)", false, true, func(r worker.Round) float64 { return per(r, r.Usage.Gets) }, nil},
	{"reads", "reads sent", false, true, func(r worker.Round) float64 { return per(r, max(0, r.Usage.Gets-r.Usage.Scripts)) }, nil},
	{"waited", "reads waited for", false, true, waited, nil},
	{"redisBytes", "bytes", false, true, func(r worker.Round) float64 { return per(r, r.Usage.RedisBytes) }, nil},
	{"hits", "hit ratio", true, true, func(r worker.Round) float64 {
		if !r.Usage.Cache {
			return math.NaN()
		}
		return 1 - waited(r)
	}, nil},
}

func per(r worker.Round, v float64) float64 { return v / float64(r.Requests) }

// waited is the reads of the store that a request waits for: those of a cache are what it
// didn't hold, by its own count; without one all are.
func waited(r worker.Round) float64 {
	if r.Usage.Cache {
		return per(r, r.Usage.Misses)
	}
	return per(r, r.Usage.Gets)
}

// quantile is none where there are too few samples for it to mean anything.
func quantile(q float64, least uint64) func(worker.Round) float64 {
	return func(r worker.Round) float64 {
		if r.Times.N < least {
			return math.NaN()
		}
		return r.Times.Quantile(q).Seconds()
	}
}

// NewEntry makes the figures of a subject's rounds, beside those of Strata's.
func NewEntry(subject string, rounds, stratas []worker.Round) Entry {
	e := Entry{Subject: subject, Figures: map[string]stats.Figure{}, Ratios: map[string]stats.Figure{}, Rounds: map[string][]float64{}}
	for _, m := range Metrics {
		own, ours := m.values(rounds), m.values(stratas)
		if own == nil {
			continue
		}
		e.Rounds[m.Key], e.Figures[m.Key] = own, stats.Of(own).Rounded()
		if len(own) != len(ours) { // like with like
			own, ours = m.together(rounds), m.together(stratas)
		}
		if own != nil && ours != nil {
			e.Ratios[m.Key] = ratio(ours, own).Rounded()
		}
	}
	for _, r := range rounds {
		e.Stale += r.Stale
		e.Requests += r.Requests
	}
	return e
}

// ratio is that of two medians, and its spread that of neighbouring rounds.
func ratio(a, b []float64) stats.Figure {
	f := stats.Ratio(a, b)
	if below := stats.Of(b).Median; below != 0 {
		f.Median = stats.Of(a).Median / below
	}
	return f
}

// values are a metric's in each round or, where it means nothing in one of them, in all
// rounds together; nil if it means nothing there either.
func (m Metric) values(rounds []worker.Round) []float64 {
	var all []float64
	for _, r := range rounds {
		v := stats.Rounded(m.of(r))
		if math.IsNaN(v) {
			return m.together(rounds)
		}
		all = append(all, v)
	}
	return all
}

// together is the one value of all rounds.
func (m Metric) together(rounds []worker.Round) []float64 {
	if m.pooled == nil {
		return nil
	}
	var all worker.Round
	for _, r := range rounds {
		all.Times.Merge(r.Times)
	}
	v := stats.Rounded(m.pooled(all))
	if math.IsNaN(v) {
		return nil
	}
	return []float64{v}
}

// Workload finds one by its name.
func (r *Run) Workload(name string) (Workload, bool) {
	for _, w := range r.Workloads {
		if w.Name == name {
			return w, true
		}
	}
	return Workload{}, false
}

// Entry finds a subject's part.
func (w Workload) Entry(subject string) (Entry, bool) {
	for _, e := range w.Entries {
		if e.Subject == subject {
			return e, true
		}
	}
	return Entry{}, false
}
