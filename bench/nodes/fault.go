package main

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
)

// fault is something that goes wrong, and is right again when it returns. A loss is what
// the servers may have lost by it.
type fault struct {
	name string
	do   func(w *world, random *rand.Rand, round int) *Loss
}

// faults are those that a topology knows.
func faults(topology string) []fault {
	all := []fault{{"cut", cutOff}, {"stall", holdBack((*redistest.Proxy).Stall)}, {"deaf", holdBack((*redistest.Proxy).StallAnswers)},
		{"pause", pause}, {"jitter", jitter}, {"refuse", refuse}, {"redial", redial},
		{"clientpause", pauseClients}, {"rights", takeRights}, {"flush", flush}}
	switch topology {
	case standalone:
		return append(all, fault{"restart", restart}, fault{"rewind", rewind}, fault{"hang", hang}, fault{"outage", outage}, fault{"full", full}, fault{"evict", evict})
	case sentinel:
		return append(all, fault{"failover", sentinelFailover}, fault{"crash", crash})
	default:
		return append(all, fault{"failover", clusterFailover}, fault{"crash", clusterCrash}, fault{"rolling", rollingRestart}, fault{"move", move}, fault{"linger", linger})
	}
}

// faultNames are all faults that some topology knows.
func faultNames() (names []string) {
	for _, topology := range topologies {
		for _, f := range faults(topology) {
			if !slices.Contains(names, f.name) {
				names = append(names, f.name)
			}
		}
	}
	return names
}

// wait is how long a fault lasts.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// some is a time between two, so that some faults end within the lease and some don't.
func some(random *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(random.Int64N(int64(high-low)))
}

// cutOff closes the connections of a node, some times in a row.
func cutOff(w *world, random *rand.Rand, _ int) *Loss {
	proxies := w.proxies[random.IntN(len(w.proxies))]
	for range 1 + random.IntN(3) {
		for _, p := range proxies {
			p.Cut()
		}
		wait(some(random, 10*time.Millisecond, 200*time.Millisecond))
	}
	return nil
}

// holdBack has a node's proxies keep something back, from a delay to an outage. Replies are old when
// they arrive.
func holdBack(begin func(*redistest.Proxy)) func(*world, *rand.Rand, int) *Loss {
	return func(w *world, random *rand.Rand, _ int) *Loss {
		proxies := w.proxies[random.IntN(len(w.proxies))]
		for _, p := range proxies {
			begin(p)
		}
		wait(some(random, 10*time.Millisecond, 3*lease))
		for _, p := range proxies {
			p.Resume()
		}
		return nil
	}
}

// jitter delays what all nodes send and are sent, each piece by a time of its own.
func jitter(w *world, random *rand.Rand, _ int) *Loss {
	w.delay(20 * time.Millisecond)
	wait(some(random, time.Second, 2*time.Second))
	w.delay(0)
	return nil
}

// delay sets the longest delay of a piece, on every way.
func (w *world) delay(longest time.Duration) {
	for _, proxies := range w.proxies {
		for _, p := range proxies {
			p.Jitter(longest)
		}
	}
}

// hang stops the server, whose connections stand.
func hang(w *world, random *rand.Rand, _ int) *Loss {
	server := w.servers[0]
	server.Pause()
	wait(some(random, 100*time.Millisecond, 4*lease))
	server.Resume()
	return nil
}

// refuse has the servers take no writes, while they answer reads: as NOREPLICAS, and on a single
// server also as READONLY, like a master that was demoted, or as MISCONF, like a full disk.
func refuse(w *world, random *rand.Rand, _ int) *Loss {
	begin, end := func() { w.setAll("min-replicas-to-write", "9") }, func() { w.setAll("min-replicas-to-write", "0") }
	if len(w.servers) == 1 {
		switch server := w.servers[0]; random.IntN(3) {
		case 1:
			begin, end = func() { w.do(server, "replicaof", "127.0.0.1", "1") }, func() { w.do(server, "replicaof", "no", "one") }
		case 2:
			begin, end = func() { server.FailSaves(w.tb) }, func() { server.MendSaves(w.tb) }
		}
	}
	begin()
	wait(some(random, 100*time.Millisecond, 2*lease))
	end()
	return nil
}

// pauseClients has a server carry out no writes for a while, or nothing at all where nobody but the
// nodes misses it.
func pauseClients(w *world, random *rand.Rand, _ int) *Loss {
	what := "write"
	if len(w.servers) == 1 && random.IntN(2) == 0 {
		what = "all"
	}
	d := some(random, 100*time.Millisecond, 3*lease)
	w.do(w.servers[random.IntN(len(w.servers))], "client", "pause", d.Milliseconds(), what)
	wait(d)
	return nil
}

// takeRights takes rights of the servers' users away for a while: to write, to the sessions' keys, or
// to be notified, which a node that has to connect anew then can't be.
func takeRights(w *world, random *rand.Rand, _ int) *Loss {
	rights := [][2]string{{"-@write", "+@all"}, {"resetkeys", "allkeys"}, {"-client|tracking", "+@all"}}[random.IntN(3)]
	allow := func(right string) {
		for _, server := range w.servers {
			w.do(server, "acl", "setuser", "default", right)
			w.do(server, append([]any{"acl", "setuser", limited, right}, forbidden...)...)
		}
	}
	allow(rights[0])
	for _, p := range w.proxies[random.IntN(len(w.proxies))] {
		p.Cut()
	}
	d := some(random, 100*time.Millisecond, 3*lease)
	wait(d)
	allow(rights[1])
	wait(2*d + time.Second) // the pauses between a node's attempts have become as long as they took in all
	return nil
}

// redial has a node's connections go on with new ones to the servers, as behind a relay that has
// reconnected: a server forgets what the node asked to be notified of, and the node has no sign of
// that. Nothing else goes wrong until it must have found that out, and for as long again as a
// read may be old.
func redial(w *world, random *rand.Rand, _ int) *Loss {
	node := random.IntN(len(w.proxies))
	before := w.differing(node)
	gap := Gap{Node: node, From: now()}
	for range 1 + random.IntN(3) {
		for _, p := range w.proxies[node] {
			p.Redial()
		}
		wait(some(random, 10*time.Millisecond, 500*time.Millisecond))
	}
	gap.To = now() + int64(gapBound)
	w.gaps = append(w.gaps, gap)
	wait(gapBound + 2*ageBound)
	w.allowed += w.differing(node) - before
	return nil
}

// differing is how many audited hits of a node differed from the store beyond what is allowed.
func (w *world) differing(node int) int64 {
	w.tb.Helper()
	if w.options.Mode == modePrincipals { // which replies to nothing
		return 0
	}
	return w.each(w.nodes[node:node+1], Ask{What: askRead})[0].Audits.Differs
}

// pause stops a node, which then finds that time has passed.
func pause(w *world, random *rand.Rand, _ int) *Loss {
	node := w.nodes[random.IntN(len(w.nodes))]
	node.pause()
	wait(some(random, 10*time.Millisecond, 3*lease))
	node.resume()
	return nil
}

// restart kills the server, which keeps on disk whatever it has acknowledged.
func restart(w *world, random *rand.Rand, _ int) *Loss {
	server := w.servers[0]
	server.Stop()
	wait(some(random, 0, 2*lease))
	server.Restart(w.tb)
	return nil
}

// rewind has the server start again with the files that it had a moment before: what came after is undone.
func rewind(w *world, random *rand.Rand, round int) *Loss {
	from := now()
	restore := w.servers[0].Snapshot(w.tb)
	wait(some(random, 100*time.Millisecond, 3*lease))
	restore()
	loss := newLoss(from, now(), w.truth(round))
	return &loss
}

func sentinelFailover(w *world, _ *rand.Rand, round int) *Loss {
	return w.succeeded(round, func(*redistest.Server) { w.sentinel.Failover() })
}

// crash kills the master, whose replica takes over, and runs it again as a replica.
func crash(w *world, _ *rand.Rand, round int) *Loss {
	return w.succeeded(round, func(old *redistest.Server) {
		old.Stop()
		w.await(30*time.Second, "the sentinel replaces a master that is gone", func() bool { return w.sentinel.Master() != old })
		old.Restart(w.tb)
	})
}

func clusterFailover(w *world, random *rand.Rand, round int) *Loss {
	return w.replace(random.IntN(len(w.replicas)), round, func(old, replica *redistest.Server) { w.cluster.Failover(replica) })
}

// clusterCrash kills a master, whom the others replace by its replica once they miss it,
// and runs it again as a replica.
func clusterCrash(w *world, random *rand.Rand, round int) *Loss {
	return w.replace(random.IntN(len(w.replicas)), round, func(old, replica *redistest.Server) {
		old.Stop()
		w.await(90*time.Second, "the cluster replaces a master that is gone", func() bool { return len(w.ranges(replica)) > 0 })
		old.Restart(w.tb)
	})
}

// rollingRestart restarts all masters of a cluster that have a replica, one after the other, as an update of the
// servers does: the replica takes over first.
func rollingRestart(w *world, _ *rand.Rand, round int) (all *Loss) {
	for n := range w.replicas {
		loss := w.replace(n, round, func(old, replica *redistest.Server) {
			w.cluster.Failover(replica)
			old.Restart(w.tb)
		})
		if all != nil {
			loss.From = all.From
		}
		all = loss
	}
	return all
}
