package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
)

// world is the servers, a proxy for each of them and each node, and the nodes. It belongs
// to the driver's goroutine.
type world struct {
	tb       testing.TB
	options  Options
	topology string
	servers  []*redistest.Server
	cluster  *redistest.Cluster
	masters  []*redistest.Server // of a cluster, that have slots; failovers replace them
	replicas []*redistest.Server // of these, in the same order, or of the first of them
	spare    *redistest.Server   // a master that has slots only while they linger
	sentinel *redistest.Sentinel
	epoch    int                  // of the sentinel's choice of a master, when that was last looked at
	proxies  [][]*redistest.Proxy // of each node
	client   redis.UniversalClient
	clients  map[string]*redis.Client // of one server each, by address
	nodes    []*process
	slots    *Slots
	direct   Server
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
	w := &world{tb: tb, options: o, topology: topology, dir: tb.TempDir(), clients: map[string]*redis.Client{}, direct: Server{Topology: topology}}
	switch topology {
	case cluster:
		w.cluster = redistest.StartCluster(tb, 3)
		w.masters = slices.Clone(w.cluster.Masters)
		for _, master := range w.masters[:min(o.Replicas, 3)] {
			w.replicas = append(w.replicas, w.cluster.AddReplica(master))
		}
		w.spare = w.cluster.AddMaster()
		w.servers = append(slices.Concat(w.masters, w.replicas), w.spare)
	case sentinel:
		w.sentinel = redistest.StartSentinel(tb)
		w.servers = w.sentinel.Servers
		w.direct.Sentinel, w.direct.Master = w.sentinel.Addr(), redistest.SentinelMaster
	default:
		// Its acknowledged writes survive its kill, so that a loss is never its own.
		w.servers = []*redistest.Server{redistest.Start(tb, "--appendonly", "yes", "--appendfsync", "always")}
	}
	for _, s := range w.servers {
		w.direct.Addrs = append(w.direct.Addrs, s.Addr())
	}
	w.client = w.direct.client()
	tb.Cleanup(func() { _ = w.client.Close() })
	w.bare = w.openBare()
	var err error
	if w.slots, err = openSlots(filepath.Join(w.dir, "slots"), o.Users+foreigners); err != nil {
		tb.Fatal(err)
	}
	for n := range o.Nodes {
		w.nodes = append(w.nodes, w.spawn(n, o.Mode))
	}
	return w
}

// at is a client of one server.
func (w *world) at(server *redistest.Server) *redis.Client {
	client := w.clients[server.Addr()]
	if client == nil {
		client = redis.NewClient(&redis.Options{Addr: server.Addr()})
		w.clients[server.Addr()] = client
		w.tb.Cleanup(func() { _ = client.Close() })
	}
	return client
}

// await asks until the condition holds.
func (w *world) await(timeout time.Duration, what string, condition func() bool) {
	w.tb.Helper()
	if !polled(timeout, condition) {
		w.tb.Fatalf("not within %v: %s", timeout, what)
	}
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
	config.Mode = mode
	p, err := spawn(w.dir, config)
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

// truth reads all sessions of a round from the masters.
func (w *world) truth(round int) []Record {
	w.tb.Helper()
	var (
		records []Record
		err     error
	)
	if !polled(30*time.Second, func() bool {
		records, err = w.readMasters(round)
		return err == nil
	}) {
		w.tb.Fatalf("the masters can't be read: %v", err)
	}
	return records
}

func (w *world) readMasters(round int) (records []Record, err error) {
	ctx := context.Background()
	var mu sync.Mutex
	scan := func(ctx context.Context, master *redis.Client) error {
		keys := master.Scan(ctx, 0, fmt.Sprintf("%sr%d-*", prefix, round), 1000).Iterator()
		for keys.Next(ctx) {
			mu.Lock()
			records = append(records, Record{Node: Truth, Kind: Read, ID: strings.TrimPrefix(keys.Val(), prefix)})
			mu.Unlock()
		}
		return keys.Err()
	}
	if c, ok := w.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, scan)
	} else {
		err = scan(ctx, w.client.(*redis.Client))
	}
	for n := range records {
		if err != nil {
			return nil, err
		}
		r := &records[n]
		r.Start = now()
		var text []byte
		if text, err = w.client.Get(ctx, prefix+r.ID).Bytes(); err == redis.Nil {
			r.Absent, err = true, nil
		} else if err == nil {
			data := map[string]any{}
			err = json.Unmarshal(text, &data)
			r.saw(data)
		}
		r.End = now()
	}
	return records, err
}

// polled asks until the condition holds, and reports whether it came to.
func polled(timeout time.Duration, condition func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); !condition(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
