package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
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
	warm        int           // requests of subjects that have a memory, before the first round
	live        int           // other sessions that each process holds
	rounds      int
	round       time.Duration
	workloads   []workload
}

// scale is how large a run is.
type scale struct {
	rounds           int
	round, http      time.Duration
	sessions         int // of most workloads
	logouts          int // a round
	zipf, warm       int // sessions, and requests before
	memory           int // sessions
	memoryRound      time.Duration
	workers, farther int // requests at a time over Zipf sessions; and over a link
	served           int // sessions of a ghttp server
	live             int // other sessions that each process holds
}

var (
	full = scale{rounds: 5, round: 150 * time.Millisecond, http: 400 * time.Millisecond, sessions: 64, logouts: 1000,
		zipf: 100_000, warm: 100_000, memory: 1_000_000, memoryRound: 2 * time.Second, workers: 8, farther: 32, served: 1024, live: 50_000}
	quick = scale{rounds: 2, round: 8 * time.Millisecond, http: 15 * time.Millisecond, sessions: 16, logouts: 16,
		zipf: 300, warm: 300, memory: 2000, memoryRound: 40 * time.Millisecond, workers: 4, farther: 8, served: 64, live: 500}
)

// mix is a part of reads.
type mix struct {
	reads  int
	writes float64
}

var mixes = []mix{{100, 0}, {95, 0.05}, {80, 0.2}, {50, 0.5}}

// plan is all groups but the memory.
func plan(s scale) []group {
	return []group{single(s), zipf(s), far(s), http(s)}
}

func single(s scale) group {
	g := group{name: "single", title: "One request at a time", rounds: s.rounds, live: s.live, round: s.round}
	add := func(name, title string, op load.Op, shape load.Shape, sessions int) {
		takes := func(sub peers.Subject) bool { return !sub.Floor }
		if op == load.Hit {
			takes = func(sub peers.Subject) bool { return sub.HTTP && !sub.Direct || sub.Floor }
		}
		g.workloads = append(g.workloads, workload{name: name, title: title, fresh: true, takes: takes,
			setup: fmt.Sprintf("%d sessions of %s (%d B of JSON) by turns, one request at a time.", sessions, shape, shape.JSONSize()),
			job:   worker.Job{Op: op, Shape: shape, Series: 1, Sessions: sessions, Workers: 1}})
	}
	add("read", "Read 2 of 10 keys", load.Read, load.TenKeys, s.sessions)
	add("hit", "GetSession of the storage alone, and one key of its map", load.Hit, load.TenKeys, 1)
	add("change", "Read 2 keys and change 1", load.Change, load.TenKeys, s.sessions)
	add("login", "Log-in: a new session of 4 keys", load.Login, load.TenKeys, s.sessions)
	add("logout", "Log-out: read a key, remove the session", load.Logout, load.TenKeys, s.logouts)
	add("read-2k", "Read 2 of 10 keys, 2 KiB", load.Read, load.TwoKiB, s.sessions)
	add("read-64k", "Read 2 of 10 keys, 64 KiB", load.Read, load.Large, s.sessions)
	add("nested", "Read a key and a nested cart", load.Cart, load.Nested, s.sessions)
	return g
}

func zipf(s scale) group {
	g := group{name: "zipf", title: "Many users, the popular ones more often", rounds: s.rounds, live: s.live, round: s.round * 3 / 2, warm: s.warm}
	for n, m := range mixes {
		g.workloads = append(g.workloads, zipfWorkload("zipf", "Zipf(1.01)", m, s.zipf, s.workers, n == 0, stored))
	}
	for procs := 1; procs <= min(4, runtime.NumCPU()); procs *= 2 {
		w := zipfWorkload("zipf", "Zipf(1.01)", mixes[1], s.zipf, s.workers, false, stored)
		w.name, w.job.Procs = fmt.Sprintf("cores-%d", procs), procs
		w.title += fmt.Sprintf(", GOMAXPROCS=%d", procs)
		g.workloads = append(g.workloads, w)
	}
	return g
}

func far(s scale) group {
	g := group{name: "link", title: "Redis 1 ms away", rounds: s.rounds, live: s.live, round: s.round * 3 / 2, warm: s.warm, roundTrip: time.Millisecond}
	for n, m := range mixes {
		w := zipfWorkload("link", "Zipf(1.01) over 1 ms", m, s.zipf, s.farther, n == 0, func(sub peers.Subject) bool { return sub.Redis })
		w.setup += " A proxy holds every byte back for 0.5 ms in each direction."
		g.workloads = append(g.workloads, w)
	}
	return g
}

// stored leaves out what isn't a storage.
func stored(s peers.Subject) bool { return !s.Floor }

func zipfWorkload(name, title string, m mix, sessions, workers int, fresh bool, takes func(peers.Subject) bool) workload {
	return workload{name: fmt.Sprintf("%s-%d", name, m.reads), title: fmt.Sprintf("%s, %d %% reads", title, m.reads), fresh: fresh, takes: takes,
		setup: fmt.Sprintf("%d sessions of %s, %d requests at a time; the rest of the requests read 2 keys and change 1. Before the first round, "+
			"subjects with a memory have had as many requests as there are sessions, by the same law.", sessions, load.TenKeys, workers),
		job: worker.Job{Op: load.Read, Writes: m.writes, Shape: load.TenKeys, Series: 2, Sessions: sessions, Zipf: true, Workers: workers}}
}

// httpConns is how many connections the load generator has.
const httpConns = 16

func http(s scale) group {
	g := group{name: "http", title: "A ghttp server", http: true, rounds: s.rounds, live: s.live, round: s.http, warm: 4 * s.served}
	for _, op := range []load.Op{load.Read, load.Change} {
		title := map[load.Op]string{load.Read: "ghttp, read 2 of 10 keys", load.Change: "ghttp, read 2 keys and change 1"}[op]
		g.workloads = append(g.workloads, workload{name: "http-" + string(op), title: title, fresh: op == load.Read,
			setup: fmt.Sprintf("%d sessions of %s by turns over %d keep-alive connections from a load generator in another process; "+
				"the CPU is that of the server. ghttp closes sessions after the response.", s.served, load.TenKeys, httpConns),
			takes: func(sub peers.Subject) bool { return sub.HTTP },
			job:   worker.Job{Op: op, Shape: load.TenKeys, Series: 3, Sessions: s.served, Workers: httpConns}})
	}
	return g
}
