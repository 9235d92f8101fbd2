// Command bench measures Strata beside what a user would take instead, on one machine,
// in one run, and shows ratios:
//
//	go run .            # all of it, in 8.5 minutes: terminal, and results: a dated page, README.md, SVG, JSON
//	go run . -quick     # every workload in a tiny form, under a minute; only wrong results fail it
//
// Each subject runs in a process of its own beside a redis-server of its own, and rounds
// take turns between them, so that all see the same machine. How many rounds there are is
// a matter of the time that is left. Every result is checked. A part of a run
// (-only, -subject, -cached) writes files only where -out says.
//
// The folders: peers has the subjects, load what requests do and the check of their
// results, worker the process of a subject, link the connection with a round-trip time,
// report what a person reads, stats medians and percentiles. goredis923 is a module of
// its own, as that client needs a newer Go. nodes is another program: many nodes at once.
package main
