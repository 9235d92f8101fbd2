package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
)

// world is a deployment, the nodes, and a proxy between each of them and each server. It belongs
// to the driver's goroutine.
type world struct {
	*deployment
	options  Options
	topology string
	proxies  [][]*redistest.Proxy // of each node
	nodes    []*process
	program  string // of the nodes, "" for this one
	slots    *Slots
	dir      string
	evidence *evidence // of this round
	outages  []Outage  // of this round
	gaps     []Gap     // of this round
	probes   int       // how often delays were measured
	sweeps   []Sweep   // of this round
	allowed  int64     // audits that differed in gaps
	bare     *gsession.Manager
	outside  sync.RWMutex // is held by a program without Strata while it writes, and by a sweep
}

// newWorld runs servers and nodes until the test ends.
func newWorld(tb testing.TB, topology string, o Options) *world {
	tb.Helper()
	w := &world{deployment: newDeployment(tb, topology, o.Replicas), options: o, topology: topology, dir: tb.TempDir()}
	w.bare = w.openBare()
	var err error
	if w.slots, err = openSlots(filepath.Join(w.dir, "slots"), o.Users+foreigners); err != nil {
		tb.Fatal(err)
	}
	if o.Skew != 0 {
		if w.program, err = buildSkewed(tb.TempDir()); err != nil {
			tb.Fatal(err)
		}
	}
	for n := range o.Nodes {
		w.nodes = append(w.nodes, w.spawn(n, o.Mode))
	}
	return w
}

// spawn runs a node behind proxies of its own; one that writes behind without.
func (w *world) spawn(n int, mode string) *process {
	w.tb.Helper()
	o, server := w.options, w.direct
	if err := os.MkdirAll(w.nodeDir(n), 0o700); err != nil {
		w.tb.Fatal(err)
	}
	if mode != modeBehind {
		server.Via = map[string]string{}
		var proxies []*redistest.Proxy
		for _, s := range w.servers {
			proxy := redistest.StartProxy(w.tb, s.Addr())
			proxies = append(proxies, proxy)
			server.Via[s.Addr()] = proxy.Addr()
		}
		w.proxies = append(w.proxies, proxies)
	}
	config := Config{Work: o.Work, Node: n, Dir: w.nodeDir(n), SlotsFile: filepath.Join(w.dir, "slots"), Slots: o.Users + foreigners, Server: server}
	config.Mode, config.Skew = mode, skewOf(n, o.Skew)
	if n == 1 && mode != modePrincipals { // there it writes behind
		config.Server.User = limited
	}
	p, err := spawn(w.program, w.dir, config)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(p.kill)
	return p
}

// all asks all nodes at once.
func (w *world) all(ask Ask) (answers []Answer) {
	w.tb.Helper()
	return w.each(w.nodes, ask)
}

func (w *world) each(nodes []*process, ask Ask) []Answer {
	w.tb.Helper()
	ask.Nodes = len(nodes)
	answers, errs := make([]Answer, len(nodes)), make([]error, len(nodes))
	var group sync.WaitGroup
	for n, p := range nodes {
		group.Go(func() { answers[n], errs[n] = p.ask(ask) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			w.tb.Fatal(err)
		}
	}
	return answers
}

// end closes the nodes' chains.
func (w *world) end() {
	w.tb.Helper()
	for _, p := range w.nodes {
		if err := p.end(); err != nil {
			w.tb.Fatalf("node %d doesn't end well: %v\n%s", p.node, err, p.tail())
		}
	}
}
