package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/report"
	"github.com/gf-strata/strata/bench/worker"
)

// workload is one kind of request, for every subject that takes part.
type workload struct {
	name, title, setup string
	job                worker.Job
	fresh              bool // open the subjects anew; else they are as the workload before left them
	takes              func(peers.Subject) bool
}

// group is workloads that run in the same processes.
type group struct {
	name, title string
	roundTrip   time.Duration // of the link to Redis; 0 for none
	http        bool          // the requests go through a ghttp server
	warm        int           // reads of subjects that have a memory, before each workload's first round
	live        int           // other sessions that each process holds
	least, most int           // rounds; how many there are between them is a matter of time
	round       time.Duration
	setup       time.Duration // what a workload takes of a subject before its rounds, about
	workloads   []workload
}

// scale is how large a run is.
type scale struct {
	least, most      int
	round, http      time.Duration
	sessions         int // of most workloads
	once             int // a round, of workloads that visit each once
	zipf             int // sessions
	memory           int // sessions
	memoryRound      time.Duration
	memoryTakes      time.Duration // of one subject, about
	workers, farther int           // requests at a time over Zipf sessions; and over a link
	served           int           // sessions of a ghttp server
	live             int           // other sessions that each process holds
}

var (
	full = scale{least: 2, most: 12, round: 100 * time.Millisecond, http: 400 * time.Millisecond, sessions: 64, once: 1000,
		zipf: 100_000, memory: 1_000_000, memoryRound: 2 * time.Second, memoryTakes: 36 * time.Second,
		workers: 8, farther: 8, served: 1024, live: 50_000}
	quick = scale{least: 2, most: 2, round: 8 * time.Millisecond, http: 15 * time.Millisecond, sessions: 16, once: 16,
		zipf: 300, memory: 2000, memoryRound: 40 * time.Millisecond, workers: 4, farther: 4, served: 64, live: 500}
)

// budgeted is what a full run may take, a tenth less than a person is promised.
const budgeted = 9 * time.Minute

// mix is a part of reads.
type mix struct {
	reads  int
	writes float64
}

var mixes = []mix{{100, 0}, {95, 0.05}, {80, 0.2}, {50, 0.5}}

// plan is all groups but the memory.
func plan(s scale) []group {
	return []group{single(s), http(s), zipf(s), far(s)}
}

// The subjects that some workloads leave out, as they would show what another one does.
const (
	otter     = "otter + TTL by hand"
	scs       = "scs + Redis"
	file      = "StorageFile"
	hashTable = "StorageRedisHashTable"
)

// not is every storage but these.
func not(names ...string) func(peers.Subject) bool {
	return func(s peers.Subject) bool { return !s.Floor && !slices.Contains(names, s.Name) }
}

func and(a, b func(peers.Subject) bool) func(peers.Subject) bool {
	return func(s peers.Subject) bool { return a(s) && b(s) }
}

// or adds a floor.
func or(name string, takes func(peers.Subject) bool) func(peers.Subject) bool {
	return func(s peers.Subject) bool { return s.Name == name || takes(s) }
}

func isSnapshot(s peers.Subject) bool { return s.HTTP && !s.Direct }

func single(s scale) group {
	g := group{name: "single", title: "One request at a time", least: s.least, most: s.most, live: s.live, round: s.round, setup: 250 * time.Millisecond}
	add := func(name, title string, op load.Op, shape load.Shape, sessions int, takes func(peers.Subject) bool) *workload {
		g.workloads = append(g.workloads, workload{name: name, title: title, fresh: true, takes: takes,
			setup: fmt.Sprintf("%d sessions of %s (%d B of JSON) by turns, one request at a time.", sessions, shape, shape.JSONSize()),
			job:   worker.Job{Op: op, Shape: shape, Series: 1, Sessions: sessions, Workers: 1}})
		return &g.workloads[len(g.workloads)-1]
	}
	few := not(report.Again, report.Behind, report.Sampled, otter)
	add("read", "Read 2 of 10 keys", load.Read, load.TenKeys, s.sessions, or(report.Nothing, not(report.Behind)))
	add("hit", "GetSession of the storage alone, and one key of its map", load.Hit, load.TenKeys, 1,
		or(report.Clone, and(not(report.Behind, report.Sampled), isSnapshot)))
	add("change", "Read 2 keys and change 1", load.Change, load.TenKeys, s.sessions, not(report.Again))
	add("login", "Log-in: a new session of 4 keys", load.Login, load.TenKeys, s.sessions, not(report.Again, report.Sampled, otter))
	add("logout", "Log-out: read a key, remove the session", load.Logout, load.TenKeys, s.once, not(report.Again, report.Sampled, otter))
	due := add("due", "Read 2 of 10 keys, when the expiry is to be slid", load.Read, load.TenKeys, s.once,
		and(few, func(s peers.Subject) bool { return s.Redis && isSnapshot(s) }))
	due.job.Due = true
	due.setup += " Each is in memory already, has half of its time to live left, and is read once. StorageRedis slides in the background, after the round."
	add("read-2k", "Read 2 of 10 keys, 2 KiB", load.Read, load.TwoKiB, s.sessions, few)
	add("read-64k", "Read 2 of 10 keys, 64 KiB", load.Read, load.Large, s.sessions, few)
	add("nested", "Read a key and a nested cart", load.Cart, load.Nested, s.sessions, few)
	return g
}

func zipf(s scale) group {
	g := group{name: "zipf", title: "Many users, the popular ones more often", least: s.least, most: max(s.least, s.most*3/4), live: s.live,
		round: s.round * 3 / 2, warm: s.zipf, setup: 1800 * time.Millisecond}
	few := not(report.Again, report.Sampled, file, hashTable, scs, otter)
	for n, m := range mixes {
		takes := few
		switch m.reads {
		case 100:
			takes = and(few, not(report.Behind))
		case 95:
			takes = not(report.Again, report.Sampled, file)
		}
		g.workloads = append(g.workloads, zipfWorkload("zipf", "Zipf(1.01)", m, s.zipf, s.workers, n == 0, takes))
	}
	// All cores are above.
	for procs := 1; procs < runtime.NumCPU() && procs <= 4; procs *= 2 {
		w := zipfWorkload("zipf", "Zipf(1.01)", mixes[1], s.zipf, s.workers, false, and(few, not(report.Behind)))
		w.name, w.job.Procs = fmt.Sprintf("cores-%d", procs), procs
		w.title += fmt.Sprintf(", GOMAXPROCS=%d", procs)
		g.workloads = append(g.workloads, w)
	}
	return g
}

func far(s scale) group {
	g := group{name: "link", title: "Redis 1 ms away", least: s.least, most: max(s.least, s.most/2), live: s.live, round: s.round * 3 / 2,
		warm: s.zipf, roundTrip: time.Millisecond, setup: 2 * time.Second}
	for n, m := range mixes {
		takes := not(report.Again, report.Sampled, hashTable, scs, otter)
		switch m.reads {
		case 100:
			takes = and(takes, not(report.Behind))
		case 95:
			takes = not(report.Again, report.Sampled, otter)
		}
		w := zipfWorkload("link", "Zipf(1.01) over 1 ms", m, s.zipf, s.farther, n == 0,
			and(takes, func(s peers.Subject) bool { return s.Redis }))
		w.setup += " A proxy in a process of its own holds every byte back for 0.5 ms in each direction."
		g.workloads = append(g.workloads, w)
	}
	return g
}

func zipfWorkload(name, title string, m mix, sessions, workers int, fresh bool, takes func(peers.Subject) bool) workload {
	return workload{name: fmt.Sprintf("%s-%d", name, m.reads), title: fmt.Sprintf("%s, %d %% reads", title, m.reads), fresh: fresh, takes: takes,
		setup: fmt.Sprintf("%d sessions of %s, %d requests at a time; the rest of the requests read 2 keys and change 1. Visits are drawn anew in each "+
			"round, the same for all. Before the first round, subjects with a memory have read every session once, so that what they miss is what was changed.",
			sessions, load.TenKeys, workers),
		job: worker.Job{Op: load.Read, Writes: m.writes, Shape: load.TenKeys, Series: 2, Sessions: sessions, Zipf: true, Workers: workers}}
}

// httpConns is how many connections the load generator has.
const httpConns = 16

func http(s scale) group {
	g := group{name: "http", title: "A ghttp server", http: true, least: s.least, most: s.most * 5 / 4, live: s.live, round: s.http,
		warm: s.served, setup: 600 * time.Millisecond}
	add := func(op load.Op, title string, takes func(peers.Subject) bool) {
		g.workloads = append(g.workloads, workload{name: "http-" + string(op), title: title, fresh: true,
			setup: fmt.Sprintf("%d sessions of %s. The load generator, in another process, is %d browsers of %d keep-alive connections each: a visit "+
				"loads a page, %d to %d requests of one session over all connections of its browser at once, and then the next session has its turn. "+
				"The CPU is that of the server. ghttp closes sessions after the response; after the last round every key is read once more, and "+
				"updates that are lost count as stale.", s.served, load.TenKeys, httpConns/worker.BrowserConns, worker.BrowserConns,
				worker.PageLeast, worker.PageMost),
			takes: and(takes, func(s peers.Subject) bool { return s.HTTP }),
			job:   worker.Job{Op: op, Shape: load.TenKeys, Series: 3, Sessions: s.served, Workers: httpConns}})
	}
	add(load.Read, "ghttp, read 2 of 10 keys", or(report.Nothing, not(report.Behind, otter)))
	add(load.Change, "ghttp, read 2 keys and change 1", not(report.Sampled, otter))
	return g
}
