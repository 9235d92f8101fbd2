// Package report keeps what a run has measured, and shows it: as a table on a terminal,
// as JSON, as one HTML page and as a plot for the README.
package report

import (
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
	Missing   []string   `json:"missing,omitempty"` // what could not be measured, and why
}

// Machine is where it ran.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Go    string `json:"go"`
	Redis string `json:"redis"`
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
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Group   string  `json:"group"`
	Setup   string  `json:"setup"`
	Entries []Entry `json:"entries"`
}

// Entry is one subject's part of a workload. Ratios are Strata's figure by this one's,
// round by round.
type Entry struct {
	Subject  string                  `json:"subject"`
	Figures  map[string]stats.Figure `json:"figures"`
	Ratios   map[string]stats.Figure `json:"ratios"`
	Rounds   map[string][]float64    `json:"rounds"`
	Outdated int64                   `json:"outdated"` // answers older than a write that had returned
	Requests int                     `json:"requests"`
}

// Weight is one subject's full cache.
type Weight struct {
	Subject string `json:"subject"`
	worker.Memory
}

// PerPayload is the memory of a cached session over its JSON.
func (w Weight) PerPayload() float64 { return w.Session / w.Payload }

// Metric is one figure of a round.
type Metric struct {
	Key, Title string
	More       bool // more is better
	of         func(worker.Round) float64
}

// Metrics are all figures of a round, in the order of the report.
var Metrics = []Metric{
	{"perSecond", "requests/s", true, func(r worker.Round) float64 { return float64(r.Requests) / r.Elapsed.Seconds() }},
	{"p50", "p50", false, func(r worker.Round) float64 { return r.Times.Quantile(0.50).Seconds() }},
	{"p99", "p99", false, func(r worker.Round) float64 { return r.Times.Quantile(0.99).Seconds() }},
	{"p999", "p99.9", false, func(r worker.Round) float64 { return r.Times.Quantile(0.999).Seconds() }},
	{"allocs", "allocations", false, func(r worker.Round) float64 { return per(r, float64(r.Usage.Allocs)) }},
	{"bytes", "bytes allocated", false, func(r worker.Round) float64 { return per(r, float64(r.Usage.Bytes)) }},
	{"cpu", "CPU, process", false, func(r worker.Round) float64 { return per(r, r.Usage.CPU) }},
	{"redisCPU", "CPU, Redis", false, func(r worker.Round) float64 { return per(r, r.Usage.RedisCPU) }},
	{"commands", "Redis commands", false, func(r worker.Round) float64 { return per(r, r.Usage.Commands) }},
	{"reads", "Redis reads", false, func(r worker.Round) float64 { return per(r, r.Usage.Reads) }},
	{"redisBytes", "Redis bytes", false, func(r worker.Round) float64 { return per(r, r.Usage.RedisBytes) }},
	{"hits", "hit ratio", true, func(r worker.Round) float64 { return max(0, 1-per(r, r.Usage.Reads)) }},
}

func per(r worker.Round, v float64) float64 { return v / float64(r.Requests) }

// NewEntry makes the figures of a subject's rounds, beside those of Strata's.
func NewEntry(subject string, rounds, stratas []worker.Round) Entry {
	e := Entry{Subject: subject, Figures: map[string]stats.Figure{}, Ratios: map[string]stats.Figure{}, Rounds: map[string][]float64{}}
	for _, m := range Metrics {
		own, ours := values(m, rounds), values(m, stratas)
		e.Rounds[m.Key], e.Figures[m.Key], e.Ratios[m.Key] = own, stats.Of(own).Rounded(), stats.Ratio(ours, own).Rounded()
	}
	for _, r := range rounds {
		e.Outdated += r.Outdated
		e.Requests += r.Requests
	}
	return e
}

func values(m Metric, rounds []worker.Round) []float64 {
	all := make([]float64, len(rounds))
	for n, r := range rounds {
		all[n] = stats.Rounded(m.of(r))
	}
	return all
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
