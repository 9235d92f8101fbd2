package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
)

// Moved is what a run found in which the nodes' address led to another server from some
// moment on, while their connections to the old one stayed, which became a replica that lags.
type Moved struct {
	Shown time.Duration // how long after its log-out at the new server a session was shown
	Kept  bool          // what was acknowledged after the bound is at the new server
}

// RunMoved has two nodes hold a session in memory, moves their address, and ends the session
// at the new server.
func RunMoved(tb testing.TB, o Options) (found Moved) {
	tb.Helper()
	const ended, begun = "r0-moved0", "r0-moved1"
	ctx := context.Background()
	o.Nodes = 0
	w := newWorld(tb, standalone, o)
	before, after := w.servers[0], redistest.Start(tb)
	follow := func(s *redistest.Server, master string) {
		host, port, _ := net.SplitHostPort(master)
		w.do(s, "replicaof", host, port)
	}
	follow(after, before.Addr())
	nodes := []*process{w.spawn(0, modeChain), w.spawn(1, modeChain)}
	w.each(nodes[:1], Ask{What: askWrite, IDs: []string{ended}, Count: 1})
	for _, answer := range w.each(nodes, Ask{What: askRead, IDs: []string{ended}}) {
		if answer.Records[0].Absent {
			tb.Fatal("a node doesn't show what was written")
		}
	}
	has := func(id string) bool { return w.at(after).Exists(ctx, prefix+id).Val() == 1 }
	if !polled(20*time.Second, func() bool { return has(ended) }) {
		tb.Fatal("the replica doesn't get what its master has")
	}
	link := redistest.StartProxy(tb, after.Addr())
	link.Stall() // what follows through it lags for ever
	for _, proxies := range w.proxies {
		proxies[0].Lead(after.Addr())
	}
	w.do(after, "replicaof", "no", "one")
	follow(before, link.Addr())
	w.do(after, "del", prefix+ended)
	for out := now(); now()-out < int64(gapBound+time.Second); wait(10 * time.Millisecond) {
		for _, answer := range w.each(nodes, Ask{What: askRead, IDs: []string{ended}}) {
			if r := answer.Records[0]; !r.Absent {
				found.Shown = max(found.Shown, time.Duration(r.Start-out))
			}
		}
	}
	if w.at(before).Exists(ctx, prefix+ended).Val() != 1 {
		tb.Fatal("the old server doesn't lag")
	}
	w.each(nodes[:1], Ask{What: askWrite, IDs: []string{begun}, Count: 1})
	found.Kept = has(begun)
	for _, p := range nodes {
		if err := p.end(); err != nil {
			tb.Fatal(err)
		}
	}
	return found
}
