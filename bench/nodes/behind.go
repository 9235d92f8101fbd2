package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// Behind is what a run of nodes found that write behind with a journal, are killed, and are
// started again on the same directory. Each node's sessions are its own, so that nothing
// newer is ever in the way of what it has accepted.
type Behind struct {
	Kills    int
	Accepted int      // changes and log-outs
	Reported int      // changes, to OnGiveUp
	Lost     []string // sessions that lack what was accepted
	Lacking  int      // changes, of these
	Silent   bool     // a node has reported fewer than its sessions lack
	Back     []string // sessions that were logged out
}

const (
	behindInterval = 50 * time.Millisecond
	behindSessions = 8 // of each node
)

// accepted is what a node had acknowledged of a session.
type accepted struct {
	versions []int64 // of the changes
	leaving  bool    // a log-out was begun, which may have been carried out
	out      bool    // and acknowledged
}

// acceptedOf is what a node had acknowledged of each session, and how many changes it has reported as
// given up.
func acceptedOf(deeds []deed) (all map[string]*accepted, reported int) {
	all = map[string]*accepted{}
	for _, d := range deeds {
		if d.What == "lost" {
			reported += int(d.Version)
			continue
		}
		a := all[d.ID]
		if a == nil {
			a = &accepted{}
			all[d.ID] = a
		}
		switch d.What {
		case "change":
			a.versions = append(a.versions, d.Version)
		case "leave":
			a.leaving = true
		case "logout":
			a.out = true
		}
	}
	return all, reported
}

// behind is a node's part: a worker for each session changes it as fast as the journal takes
// it, and now and then logs out and goes on with a new one. end ends it.
func (n *node) behind() (end func(), err error) {
	ledger, err := openLedger(n.Dir)
	if err != nil {
		return nil, err
	}
	n.chain = layer.Chain(n.store(), layer.Coalesced(layer.WriteBehind(behindInterval), layer.Journal(filepath.Join(n.Dir, "journal")),
		layer.OnGiveUp(func(g layer.GiveUp) { ledger.note(deed{What: "lost", Version: int64(g.Changes)}) })), layer.Local())
	n.manager = gsession.New(ttl, n.chain)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for session := range behindSessions {
		all.Go(func() {
			start := now() // larger than any before, so that versions are new
			random := rand.New(rand.NewPCG(n.Seed, uint64(start)))
			begun := 0
			another := func() string { // no id comes twice
				begun++
				return fmt.Sprintf("r0-behind%d-%d-%d-%d", n.Node, session, start, begun)
			}
			id := another()
			for version := start; ; version++ {
				select {
				case <-stop:
					return
				default:
				}
				request := n.manager.New(context.Background(), id)
				if random.IntN(40) == 0 {
					ledger.note(deed{What: "leave", ID: id})
					if request.RemoveAll() == nil {
						ledger.note(deed{What: "logout", ID: id})
					}
					id = another()
					continue
				}
				err := request.Set(ownKey(0), fmt.Sprint(version))
				if err == nil {
					err = request.Close()
				}
				if err == nil {
					ledger.note(deed{What: "change", ID: id, Version: version})
				}
			}
		})
	}
	return func() {
		close(stop)
		all.Wait()
		_ = n.close()
		ledger.close()
	}, nil
}

// leastAccepted is how many changes a node accepts before its kill proves something.
const leastAccepted = 20

// RunBehind kills nodes that write behind, of which some are killed while the server hangs,
// and then looks for all that they had accepted.
func RunBehind(tb testing.TB, o Options, kills int) *Behind {
	tb.Helper()
	nodes := o.Nodes
	o.Nodes = 0
	w := newWorld(tb, standalone, o)
	random := rand.New(rand.NewPCG(o.Seed, 0))
	found := &Behind{Kills: kills}
	running := make([]*process, nodes)
	before := make([]int, nodes) // what each had accepted when it was started
	for n := range running {
		running[n] = w.spawn(n, modeBehind)
	}
	for kill := range kills {
		n := random.IntN(nodes)
		hung := kill%2 == 1
		wait(some(random, 200*time.Millisecond, time.Second))
		w.await(time.Minute, "a node accepts changes", func() bool { return w.accepted(n) >= before[n]+leastAccepted })
		if hung {
			w.servers[0].Pause()
			wait(some(random, 0, 500*time.Millisecond))
		}
		running[n].kill()
		before[n] = w.accepted(n)
		if hung {
			w.servers[0].Resume()
		}
		running[n] = w.spawn(n, modeBehind)
	}
	wait(time.Second)
	for _, p := range running {
		if err := p.end(); err != nil {
			tb.Fatalf("node %d doesn't end well: %v\n%s", p.node, err, p.tail())
		}
	}
	held := map[string]Record{}
	for _, r := range w.truth(0) {
		held[r.ID] = r
	}
	for n := range running {
		all, reported := acceptedOf(w.deeds(n))
		found.compare(all, held, reported)
	}
	return found
}

// accepted is how many changes a node has accepted.
func (w *world) accepted(node int) (n int) {
	w.tb.Helper()
	for _, d := range w.deeds(node) {
		if d.What == "change" {
			n++
		}
	}
	return n
}

// compare judges what the store holds of a node's sessions. One that was begun, and was on its way
// to the store when the node was killed, may have been logged out meanwhile, which the next process
// can't know: it reports the changes, and doesn't write them again.
func (b *Behind) compare(all map[string]*accepted, held map[string]Record, reported int) {
	lacking := 0
	for id, a := range all {
		b.Accepted += len(a.versions)
		r, there := held[id]
		if a.out {
			b.Accepted++
			if there && !r.Absent {
				b.Back = append(b.Back, id)
			}
			continue
		}
		if a.leaving && (!there || r.Absent) {
			continue
		}
		later := slices.DeleteFunc(slices.Clone(a.versions), func(version int64) bool { return version <= r.version(0) })
		if len(later) > 0 {
			b.Lost = append(b.Lost, fmt.Sprintf("%s holds version %d, and lacks %d changes", id, r.version(0), len(later)))
			lacking += len(later)
		}
	}
	b.Lacking += lacking
	b.Reported += reported
	b.Silent = b.Silent || lacking > reported
}

// Print writes what was found.
func (b *Behind) Print(out io.Writer) {
	_, _ = fmt.Fprintf(out, "write-behind with a journal: %d kills\n", b.Kills)
	_, _ = fmt.Fprintf(out, "  %-15s %d changes and log-outs accepted; %d changes lack, %d were reported as lost; %d sessions are back after a log-out\n",
		"laws", b.Accepted, b.Lacking, b.Reported, len(b.Back))
	for _, text := range slices.Concat(b.Back[:min(len(b.Back), kept)], b.Lost[:min(len(b.Lost), kept)]) {
		_, _ = fmt.Fprintf(out, "  !               %s\n", text)
	}
}

// nodeDir is where a node keeps its ledger, and its journal.
func (w *world) nodeDir(n int) string { return filepath.Join(w.dir, fmt.Sprint("node", n)) }
