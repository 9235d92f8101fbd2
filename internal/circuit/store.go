package circuit

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Store is a storage behind circuits: two for each node, as a server may refuse writes and
// serve reads. Safe for concurrent use.
//
// The first block is set at construction. mu guards nodes, which keeps each node that it has seen.
type Store struct {
	tiers.Storage
	batcher  tiers.Batcher  // below, nil for none
	reloader tiers.Reloader // below, nil for none
	shard    func(id string) string
	life     context.Context // of probes
	end      context.CancelFunc

	mu    sync.RWMutex
	nodes map[string]*node
}

// node is one server. Its fields guard themselves.
type node struct {
	reads, writes Circuit
	probes        atomic.Int32 // under way
}

// Over puts circuits on a storage. A layer that stands on them already has a method Circuits.
func Over(inner gsession.Storage) (s tiers.Storage, circuits *Store) {
	below := sessionmap.Adapt(inner)
	if on, ok := tiers.Find[interface{ Circuits() *Store }](inner); ok {
		return below, on.Circuits()
	}
	circuits = &Store{Storage: below, batcher: tiers.BatcherOf(below), reloader: tiers.ReloaderOf(below),
		shard: tiers.ShardOf(inner), nodes: map[string]*node{}}
	circuits.life, circuits.end = context.WithCancel(context.Background())
	return circuits, circuits
}

// Shard names the node that holds the session.
func (s *Store) Shard(id string) string { return s.shard(id) }

// Writes is the circuit of a node's writes.
func (s *Store) Writes(shard string) *Circuit { return &s.node(shard).writes }

func (s *Store) node(shard string) *node {
	s.mu.RLock()
	n := s.nodes[shard]
	s.mu.RUnlock()
	if n != nil {
		return n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = s.nodes[shard]; n == nil {
		n = &node{}
		s.nodes[shard] = n
	}
	return n
}

// Report sets where the storage below reports to.
func (s *Store) Report(to *telemetry.Sink) { telemetry.ReportTo(s.Storage, to) }

// Unwrap returns the storage below.
func (s *Store) Unwrap() gsession.Storage { return s.Storage }

// Close ends probes. An open circuit lets a caller through in place of a probe from then on.
func (s *Store) Close() { s.end() }

// mostProbes bounds the probes of a node that are under way, as a store may ignore its context.
const mostProbes = 16

// probeTime is how long a probe waits for the store.
const probeTime = time.Second

// probe reads a session in the background, so that no caller waits for it. It returns false if it can't.
func (s *Store) probe(ctx context.Context, n *node, id string, ttl time.Duration) (ok bool) {
	if s.life.Err() != nil || ttl <= 0 || s.Style(ctx) == tiers.StyleOpaque {
		return false
	}
	id = strings.Clone(id)
	n.probe(s.life, id, func(ctx context.Context) error {
		_, err := s.Storage.Load(ctx, id, ttl)
		return err
	})
	return true
}

// probe reads something in the background, unless too many do.
func (n *node) probe(life context.Context, of string, read func(context.Context) error) {
	if n.probes.Add(1) > mostProbes {
		n.probes.Add(-1)
		return
	}
	go func() {
		defer n.probes.Add(-1)
		ctx, cancel := context.WithTimeout(life, probeTime)
		defer cancel()
		k := n.reads.begin(ctx, of)
		defer k.stop()
		defer func() { _ = recover() }() // which a caller's call will raise
		err := read(ctx)
		if k.end(ctx, err); err == nil {
			n.writes.doubt()
		}
	}()
}

// begin begins a call, or returns ErrOpen and has the store probed if that is due. If no probe can be made, the call
// goes through in its place.
func (s *Store) begin(ctx context.Context, n *node, c *Circuit, id string, ttl time.Duration) (*call, error) {
	due, err := c.enter(time.Now(), ctx.Value(probeKey{}) != nil, ErrOpen)
	if err != nil && !(due && !s.probe(ctx, n, id, ttl)) {
		return nil, err
	}
	return c.begin(ctx, id), nil
}

// through makes a call if the circuit lets it.
func through[R any](ctx context.Context, s *Store, c func(n *node) *Circuit, id string, ttl time.Duration, do func() (R, error)) (r R, err error) {
	n := s.node(s.shard(id))
	k, err := s.begin(ctx, n, c(n), id, ttl)
	if err != nil {
		return r, err
	}
	defer k.stop()
	r, err = do()
	k.end(ctx, err)
	return r, err
}

func reads(n *node) *Circuit  { return &n.reads }
func writes(n *node) *Circuit { return &n.writes }

// write is a call that returns nothing but an error.
func (s *Store) write(ctx context.Context, id string, ttl time.Duration, do func() error) error {
	_, err := through(ctx, s, writes, id, ttl, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// keyed is a call for single keys, which a snapshot store refuses without its server: gsession makes
// one for each key that a handler reads.
func keyed[R any](ctx context.Context, s *Store, c func(n *node) *Circuit, id string, ttl time.Duration, do func() (R, error)) (R, error) {
	if s.Style(ctx) == tiers.StyleSnapshot {
		return do()
	}
	return through(ctx, s, c, id, ttl, do)
}

func (s *Store) writeKeys(ctx context.Context, id string, ttl time.Duration, do func() error) error {
	_, err := keyed(ctx, s, writes, id, ttl, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// Load goes through the circuit of its node's reads, as all reads do; writes go through that of its writes.
func (s *Store) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	return through(ctx, s, reads, id, ttl, func() (tiers.Read, error) { return s.Storage.Load(ctx, id, ttl) })
}

func (s *Store) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return through(ctx, s, reads, id, ttl, func() (*gmap.StrAnyMap, error) { return s.Storage.GetSession(ctx, id, ttl) })
}

func (s *Store) Get(ctx context.Context, id, key string) (any, error) {
	return keyed(ctx, s, reads, id, 0, func() (any, error) { return s.Storage.Get(ctx, id, key) })
}

func (s *Store) Data(ctx context.Context, id string) (map[string]any, error) {
	return keyed(ctx, s, reads, id, 0, func() (map[string]any, error) { return s.Storage.Data(ctx, id) })
}

func (s *Store) GetSize(ctx context.Context, id string) (int, error) {
	return keyed(ctx, s, reads, id, 0, func() (int, error) { return s.Storage.GetSize(ctx, id) })
}

func (s *Store) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	return through(ctx, s, writes, id, ttl, func() (*tiers.Snapshot, error) { return s.Storage.Commit(ctx, id, delta, ttl) })
}

func (s *Store) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	return through(ctx, s, writes, id, ttl, func() (time.Time, error) { return s.Storage.Slide(ctx, id, ttl) })
}

func (s *Store) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	return s.write(ctx, id, ttl, func() error { return s.Storage.UpdateTTL(ctx, id, ttl) })
}

func (s *Store) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	return s.write(ctx, id, ttl, func() error { return s.Storage.SetSession(ctx, id, data, ttl) })
}

func (s *Store) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	return s.writeKeys(ctx, id, ttl, func() error { return s.Storage.Set(ctx, id, key, value, ttl) })
}

func (s *Store) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	return s.writeKeys(ctx, id, ttl, func() error { return s.Storage.SetMap(ctx, id, data, ttl) })
}

func (s *Store) Remove(ctx context.Context, id, key string) error {
	return s.writeKeys(ctx, id, 0, func() error { return s.Storage.Remove(ctx, id, key) })
}

func (s *Store) RemoveAll(ctx context.Context, id string) error {
	return s.write(ctx, id, 0, func() error { return s.Storage.RemoveAll(ctx, id) })
}

// Batches reports whether the storage below takes batches.
func (s *Store) Batches() bool { return s.batcher != nil }

func (s *Store) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	return together(ctx, s, writes, commits, func(c tiers.Commit) (string, time.Duration) { return c.ID, c.TTL }, s.batcher.CommitAll,
		func(err error) tiers.Committed { return tiers.Committed{Err: err} }, func(c tiers.Committed) error { return c.Err })
}

// Reloads reports whether the storage below reads several sessions together.
func (s *Store) Reloads() bool { return s.reloader != nil }

func (s *Store) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	return together(ctx, s, reads, loads, func(l tiers.Reload) (string, time.Duration) { return l.ID, l.TTL }, s.reloader.LoadAll,
		func(err error) tiers.Reloaded { return tiers.Reloaded{Err: err} }, func(l tiers.Reloaded) error { return l.Err })
}

var errNoResult = tiers.NewError("strata: the store gave no result for a session of a batch; CommitAll and LoadAll return one for each", nil)

// together makes one call for each node, at the same time, so that a node that hangs delays only its own
// sessions. A panic is raised in the caller once all have ended. A session without a result then has an error.
func together[Q, R any](ctx context.Context, s *Store, circuit func(*node) *Circuit, asked []Q, of func(Q) (id string, ttl time.Duration),
	do func(context.Context, []Q) []R, refused func(error) R, failure func(R) error) []R {
	results := make([]R, len(asked))
	places := map[string][]int{}
	for n, q := range asked {
		results[n] = refused(errNoResult)
		id, _ := of(q)
		shard := s.shard(id)
		places[shard] = append(places[shard], n)
	}
	ask := func(shard string, at []int) {
		n := s.node(shard)
		id, ttl := of(asked[at[0]])
		k, err := s.begin(ctx, n, circuit(n), id, ttl)
		if err != nil {
			for _, n := range at {
				results[n] = refused(err)
			}
			return
		}
		defer k.stop()
		part := make([]Q, len(at))
		for i, n := range at {
			part[i] = asked[n]
		}
		found := do(ctx, part)
		for i, n := range at {
			if len(found) == len(part) {
				results[n] = found[i]
			}
			id, _ := of(part[i])
			each := call{circuit: k.circuit, session: hash(id), began: k.began}
			each.end(ctx, failure(results[n]))
		}
	}
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		panicked any
		left     = len(places)
	)
	for shard, at := range places {
		run := func() {
			defer func() {
				if p := recover(); p != nil {
					mu.Lock()
					defer mu.Unlock()
					panicked = p
				}
			}()
			ask(shard, at)
		}
		if left--; left > 0 {
			all.Go(run)
		} else { // the last one, or the only one, here
			run()
		}
	}
	all.Wait()
	if panicked != nil {
		panic(panicked)
	}
	return results
}
