package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
)

// deployment is the servers of a topology, which of them are masters, and direct ways to them that no
// fault is on. It belongs to the driver's goroutine.
type deployment struct {
	tb       testing.TB
	servers  []*redistest.Server
	cluster  *redistest.Cluster
	masters  []*redistest.Server // of a cluster, that have slots; failovers replace them
	replicas []*redistest.Server // of these, in the same order, or of the first of them
	spare    *redistest.Server   // a master that has slots only while they linger
	sentinel *redistest.Sentinel
	epoch    int // of the sentinel's choice of a master, when that was last looked at
	direct   Server
	client   redis.UniversalClient
	clients  map[string]*redis.Client // of one server each, by address
}

// limited is a user of the servers that may run neither scripts nor CLIENT TRACKING, as some rented servers have
// neither, and in flags how a server knows it from its start, and that it sends keyspace notifications.
const limited = "limited"

var (
	forbidden = []any{"-eval", "-evalsha", "-client|tracking"}
	flags     = []string{
		"--user", limited, "on", "nopass", "~*", "&*", "+@all", "-eval", "-evalsha", "-client|tracking", "--notify-keyspace-events", "Kg$xe",
	}
)

// newDeployment runs servers until the test ends; replicas is how many of a cluster's masters have one.
func newDeployment(tb testing.TB, topology string, replicas int) *deployment {
	tb.Helper()
	d := &deployment{tb: tb, clients: map[string]*redis.Client{}, direct: Server{Topology: topology}}
	switch topology {
	case cluster:
		d.cluster = redistest.StartCluster(tb, 3, flags...)
		d.masters = slices.Clone(d.cluster.Masters)
		for _, master := range d.masters[:min(replicas, 3)] {
			d.replicas = append(d.replicas, d.cluster.AddReplica(master))
		}
		d.spare = d.cluster.AddMaster()
		d.servers = append(slices.Concat(d.masters, d.replicas), d.spare)
	case sentinel:
		d.sentinel = redistest.StartSentinel(tb, flags...)
		d.servers = d.sentinel.Servers
		d.direct.Sentinel, d.direct.Master = d.sentinel.Addr(), redistest.SentinelMaster
	default:
		// Its acknowledged writes survive its kill, so that a loss is never its own.
		d.servers = []*redistest.Server{redistest.Start(tb, append([]string{"--appendonly", "yes", "--appendfsync", "always"}, flags...)...)}
	}
	for _, s := range d.servers {
		d.direct.Addrs = append(d.direct.Addrs, s.Addr())
	}
	d.client = d.direct.client()
	tb.Cleanup(func() { _ = d.client.Close() })
	return d
}

// at is a client of one server.
func (d *deployment) at(server *redistest.Server) *redis.Client {
	client := d.clients[server.Addr()]
	if client == nil {
		client = redis.NewClient(&redis.Options{Addr: server.Addr()})
		d.clients[server.Addr()] = client
		d.tb.Cleanup(func() { _ = client.Close() })
	}
	return client
}

// await asks until the condition holds.
func (d *deployment) await(timeout time.Duration, what string, condition func() bool) {
	d.tb.Helper()
	if !polled(timeout, condition) {
		d.tb.Fatalf("not within %v: %s", timeout, what)
	}
}

// do has a server carry out a command, over a connection of its own.
func (d *deployment) do(server *redistest.Server, args ...any) {
	d.tb.Helper()
	d.await(20*time.Second, fmt.Sprintf("a server carries out %q", args), func() bool {
		return d.at(server).Do(context.Background(), args...).Err() == nil
	})
}

// setAll gives all servers a setting.
func (d *deployment) setAll(name, value string) {
	for _, server := range d.servers {
		d.do(server, "config", "set", name, value)
	}
}

// truth reads all sessions of a round from the masters.
func (d *deployment) truth(round int) []Record {
	d.tb.Helper()
	var (
		records []Record
		err     error
	)
	if !polled(30*time.Second, func() bool {
		records, err = d.readMasters(round)
		return err == nil
	}) {
		d.tb.Fatalf("the masters can't be read: %v", err)
	}
	return records
}

func (d *deployment) readMasters(round int) (records []Record, err error) {
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
	if c, ok := d.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, scan)
	} else {
		err = scan(ctx, d.client.(*redis.Client))
	}
	for n := range records {
		if err != nil {
			return nil, err
		}
		r := &records[n]
		r.Start = now()
		var text []byte
		if text, err = d.client.Get(ctx, prefix+r.ID).Bytes(); err == redis.Nil {
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

// reads is how often the servers were asked for a session, which takes one PTTL.
func (d *deployment) reads() (all int) {
	d.tb.Helper()
	for _, s := range d.servers {
		info, err := d.at(s).InfoMap(context.Background(), "commandstats").Result()
		if err != nil {
			d.tb.Fatal(err)
		}
		var calls int
		_, _ = fmt.Sscanf(info["Commandstats"]["cmdstat_pttl"], "calls=%d", &calls) // 0 if there was none
		all += calls
	}
	return all
}

// replicated has a replica confirm a write of now, and returns the moment before it.
func (d *deployment) replicated(master *redistest.Server, key string) int64 {
	d.tb.Helper()
	var began int64
	d.await(20*time.Second, "a replica has what the master has", func() bool {
		ctx := context.Background()
		conn := d.at(master).Conn()
		defer func() { _ = conn.Close() }()
		began = now()
		if conn.Set(ctx, key, began, time.Minute).Err() != nil {
			return false
		}
		n, err := conn.Wait(ctx, 1, time.Second).Result()
		return err == nil && n >= 1
	})
	return began
}

// unasked reports whether the sentinel has replaced its master, since it was last asked
// here, in another number of times than it had to.
func (d *deployment) unasked(had int) bool {
	if d.sentinel == nil {
		return false
	}
	due := d.epoch + had
	d.epoch = d.sentinel.Epoch()
	return d.epoch != due
}

// settled waits until the servers are what the sentinel takes them for. One that was kept
// from running does nothing for half a minute (its TILT mode), and it may have replaced the
// master more than once.
func (d *deployment) settled() {
	d.tb.Helper()
	d.await(90*time.Second, "the servers are what the sentinel takes them for", d.sentinel.Settled)
}

// succeeded has the sentinel's master and replica change places.
func (d *deployment) succeeded(round int, how func(old *redistest.Server)) *Loss {
	d.tb.Helper()
	old := d.sentinel.Master()
	from := d.replicated(old, "marker")
	how(old)
	d.settled()
	loss := newLoss(from, now(), d.truth(round))
	return &loss
}

// replace has a cluster's master and its replica change places.
func (d *deployment) replace(n, round int, how func(old, replica *redistest.Server)) *Loss {
	d.tb.Helper()
	old, replica := d.masters[n], d.replicas[n]
	from := d.replicated(old, d.keyOf(old))
	d.agreed()
	how(old, replica)
	d.masters[n], d.replicas[n] = replica, old
	if !polled(90*time.Second, old.Follows) {
		ctx := context.Background()
		d.tb.Fatalf("the old master isn't a replica with the data within 90 s, and says:\n%s\n%s",
			d.at(old).Info(ctx, "replication").Val(), d.at(old).ClusterNodes(ctx).Val())
	}
	d.agreed()
	loss := newLoss(from, now(), d.truth(round))
	return &loss
}

// agreed waits until all servers say the same of the slots. A replica that takes over
// takes those that it knows to be its master's.
func (d *deployment) agreed() {
	d.tb.Helper()
	views := make([]string, len(d.servers))
	if !polled(90*time.Second, func() bool {
		agreed := true
		for n, server := range d.servers {
			text, err := d.at(server).ClusterNodes(context.Background()).Result()
			views[n] = fmt.Sprintf("%v %s", err, owners(text))
			agreed = agreed && err == nil && views[n] == views[0]
		}
		return agreed
	}) {
		d.tb.Fatalf("the servers don't agree who has which slot:\n%s", strings.Join(views, "\n\n"))
	}
}

// owners is who has which slots, and since which epoch, in the answer of CLUSTER NODES. A
// replica that takes over without knowing its master's newest epoch is put back.
func owners(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 8 {
			all = append(all, fields[0]+" "+fields[6]+" "+strings.Join(fields[8:], " "))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// ranges are the slots that a master has, as it says itself.
func (d *deployment) ranges(master *redistest.Server) (ranges [][2]int) {
	d.tb.Helper()
	text, err := d.at(master).ClusterNodes(context.Background()).Result()
	if err != nil {
		d.tb.Fatal(err)
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
			continue
		}
		for _, field := range fields[8:] {
			low, high, two := strings.Cut(field, "-")
			if !two {
				high = low
			}
			a, errA := strconv.Atoi(low)
			b, errB := strconv.Atoi(high)
			if errA == nil && errB == nil {
				ranges = append(ranges, [2]int{a, b})
			}
		}
	}
	return ranges
}

func (d *deployment) has(master *redistest.Server, slot int) bool {
	for _, r := range d.ranges(master) {
		if r[0] <= slot && slot <= r[1] {
			return true
		}
	}
	return false
}

// keyOf is a key that a master has.
func (d *deployment) keyOf(master *redistest.Server) string {
	d.tb.Helper()
	for n := 0; ; n++ {
		if key := fmt.Sprintf("marker%d", n); d.has(master, d.slotOf(key)) {
			return key
		}
	}
}

// slotOf is the slot of a key.
func (d *deployment) slotOf(key string) int {
	d.tb.Helper()
	slot, err := d.at(d.masters[0]).ClusterKeySlot(context.Background(), key).Result()
	if err != nil {
		d.tb.Fatal(err)
	}
	return int(slot)
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
