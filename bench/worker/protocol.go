// Package worker is the process of a subject: it runs what the bench asks for, and
// returns what it measured. A module that needs a newer Go runs it for its own subjects.
package worker

import (
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/stats"
)

// Variable is set in the environment of a worker.
const Variable = "STRATA_BENCH_WORKER"

// The commands of the bench.
const (
	AskOpen     = "open"     // open the subject and seed its sessions
	AskWarm     = "warm"     // requests that aren't measured
	AskRound    = "round"    // requests for a time
	AskProbe    = "probe"    // what the subject keeps and what it doesn't
	AskMemory   = "memory"   // fill the cache, and weigh it
	AskServe    = "serve"    // a ghttp server; it returns its address
	AskUsage    = "usage"    // what was used up since it was last asked
	AskGenerate = "generate" // requests to a ghttp server
	AskSweep    = "sweep"    // read all that was written, once more
	AskLink     = "link"     // a link to a server; it returns its address
	AskDistance = "distance" // the round-trip time of a link
	AskClose    = "close"    // close the subject
)

// Ask is what the bench wants.
type Ask struct {
	What     string
	Subject  string
	Env      peers.Env
	Job      Job
	Duration time.Duration
	Requests int    // instead of Duration
	Turn     int    // of the subject's, so that each round has visits of its own
	Addr     string // of the ghttp server, of a link, or of what a link leads to
	// Live is the other data that the worker's process holds from then on, in sessions.
	// Without, the collector runs as if the process had nothing else to do.
	Live int
}

// Job is what requests do.
type Job struct {
	Op       load.Op
	Writes   float64 // the part of requests that Change instead of Op
	Shape    load.Shape
	Series   int // of the ids
	Sessions int
	Zipf     bool
	Due      bool // the expiry of each session is to be slid, and each is visited once
	Workers  int  // requests at a time
	Procs    int  // cores; 0 leaves them
}

// Answer is what came of it.
type Answer struct {
	Err    string
	Wrong  bool // Err is about a wrong result
	Addr   string
	Round  Round
	Keeps  Keeps
	Memory Memory
}

// Round is what was measured in one.
type Round struct {
	Requests int
	Elapsed  time.Duration
	Times    stats.Histogram
	Distinct int   // sessions that were visited, where they are drawn
	Stale    int64 // results older than a write that had returned
	Usage    Usage
}

// Keeps is what probes found a subject to keep.
type Keeps struct {
	Isolated bool `json:"isolated"` // what a request does to a value, no other sees before it is stored
	Coherent bool `json:"coherent"` // a second node sees a write soon
	Updates  bool `json:"updates"`  // overlapping requests that change different keys both survive
	Logout   bool `json:"logout"`   // a request from before a log-out doesn't undo it
	// Delay is how long the second node took, in seconds, in the middle of several times; 0
	// where it didn't each time.
	Delay float64 `json:"delay"`
}

// Memory is what a full cache costs.
type Memory struct {
	Sessions int     `json:"sessions"`
	Cached   float64 `json:"cached"`  // the part of them that memory serves
	Session  float64 `json:"session"` // bytes of heap for each that is cached; 0 where none is
	Payload  float64 `json:"payload"` // bytes of its JSON
	// Cycle is the CPU time of one collection while sessions are read, in seconds, and
	// Interval how long it is from one to the next at that rate.
	Cycle    float64 `json:"cycle"`
	Interval float64 `json:"interval"`
	PauseP99 float64 `json:"pauseP99"` // seconds
	PauseMax float64 `json:"pauseMax"`
	Reads    float64 `json:"reads"` // a second, meanwhile
}
