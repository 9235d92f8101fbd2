package circuit

import (
	"context"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Store is a storage behind circuits: two for each node, as a server may refuse writes and
// answer reads. Safe for concurrent use.
//
// mu guards nodes, which grows with the nodes that there have ever been.
type Store struct {
	tiers.Storage
	shard func(id string) string

	mu    sync.RWMutex
	nodes map[string]*node
}

type node struct{ reads, writes Circuit }

// Over puts circuits on a storage. A layer that stands on them already has a method Circuits.
func Over(inner gsession.Storage) (s tiers.Storage, circuits *Store) {
	for below := inner; below != nil; {
		if on, ok := below.(interface{ Circuits() *Store }); ok {
			return tiers.Of(inner), on.Circuits()
		}
		wrapper, ok := below.(interface{ Unwrap() gsession.Storage })
		if !ok {
			break
		}
		below = wrapper.Unwrap()
	}
	circuits = &Store{Storage: tiers.Of(inner), shard: tiers.ShardOf(inner), nodes: map[string]*node{}}
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

// Report says where to report, to what it wraps.
func (s *Store) Report(to *telemetry.Sink) { telemetry.Tell(s.Storage, to) }

// Unwrap returns the storage below.
func (s *Store) Unwrap() gsession.Storage { return s.Storage }

// through makes a call if the circuit lets it.
func through[R any](ctx context.Context, c *Circuit, id string, do func() (R, error)) (r R, err error) {
	k, err := c.begin(ctx, id)
	if err != nil {
		return r, err
	}
	defer k.stop()
	r, err = do()
	k.end(ctx, err)
	return r, err
}

func read[R any](ctx context.Context, s *Store, id string, do func() (R, error)) (R, error) {
	return through(ctx, &s.node(s.shard(id)).reads, id, do)
}

func write[R any](ctx context.Context, s *Store, id string, do func() (R, error)) (R, error) {
	return through(ctx, &s.node(s.shard(id)).writes, id, do)
}

// only is for calls that answer nothing but an error.
func only(do func() error) func() (struct{}, error) {
	return func() (struct{}, error) { return struct{}{}, do() }
}

// Load goes through the circuit of its node's reads, as all that reads does; what writes
// goes through that of the writes.
func (s *Store) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	return read(ctx, s, id, func() (tiers.Read, error) { return s.Storage.Load(ctx, id, ttl) })
}

func (s *Store) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return read(ctx, s, id, func() (*gmap.StrAnyMap, error) { return s.Storage.GetSession(ctx, id, ttl) })
}

func (s *Store) Get(ctx context.Context, id, key string) (any, error) {
	return read(ctx, s, id, func() (any, error) { return s.Storage.Get(ctx, id, key) })
}

func (s *Store) Data(ctx context.Context, id string) (map[string]any, error) {
	return read(ctx, s, id, func() (map[string]any, error) { return s.Storage.Data(ctx, id) })
}

func (s *Store) GetSize(ctx context.Context, id string) (int, error) {
	return read(ctx, s, id, func() (int, error) { return s.Storage.GetSize(ctx, id) })
}

func (s *Store) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	return write(ctx, s, id, func() (*tiers.Snapshot, error) { return s.Storage.Commit(ctx, id, delta, ttl) })
}

func (s *Store) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	return write(ctx, s, id, func() (time.Time, error) { return s.Storage.Slide(ctx, id, ttl) })
}

func (s *Store) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.UpdateTTL(ctx, id, ttl) }))
	return err
}

func (s *Store) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.SetSession(ctx, id, data, ttl) }))
	return err
}

func (s *Store) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.Set(ctx, id, key, value, ttl) }))
	return err
}

func (s *Store) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.SetMap(ctx, id, data, ttl) }))
	return err
}

func (s *Store) Remove(ctx context.Context, id, key string) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.Remove(ctx, id, key) }))
	return err
}

func (s *Store) RemoveAll(ctx context.Context, id string) error {
	_, err := write(ctx, s, id, only(func() error { return s.Storage.RemoveAll(ctx, id) }))
	return err
}

// Batcher is nil where the storage below takes no batches.
func (s *Store) Batcher() tiers.Batcher {
	if inner := tiers.BatcherOf(s.Storage); inner != nil {
		return batcher{s: s, inner: inner}
	}
	return nil
}

type batcher struct {
	s     *Store
	inner tiers.Batcher
}

func (b batcher) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	refused := func(err error) tiers.Committed { return tiers.Committed{Err: err} }
	failure := func(c tiers.Committed) error { return c.Err }
	return together(ctx, b.s, commits, func(c tiers.Commit) string { return c.ID }, b.s.Writes, b.inner.CommitAll, refused, failure)
}

// Reloader is nil where the storage below reads sessions only one by one.
func (s *Store) Reloader() tiers.Reloader {
	if inner := tiers.ReloaderOf(s.Storage); inner != nil {
		return reloader{s: s, inner: inner}
	}
	return nil
}

type reloader struct {
	s     *Store
	inner tiers.Reloader
}

func (r reloader) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	refused := func(err error) tiers.Reloaded { return tiers.Reloaded{Err: err} }
	failure := func(l tiers.Reloaded) error { return l.Err }
	reads := func(shard string) *Circuit { return &r.s.node(shard).reads }
	return together(ctx, r.s, loads, func(l tiers.Reload) string { return l.ID }, reads, r.inner.LoadAll, refused, failure)
}

// together makes one call for each node, at the same time, so that one which hangs delays
// only what is its own.
func together[Q, R any](ctx context.Context, s *Store, asked []Q, id func(Q) string, circuit func(shard string) *Circuit,
	do func(context.Context, []Q) []R, refused func(error) R, failure func(R) error) []R {
	results := make([]R, len(asked))
	places := map[string][]int{}
	for n, q := range asked {
		shard := s.shard(id(q))
		places[shard] = append(places[shard], n)
	}
	ask := func(shard string, at []int) {
		c := circuit(shard)
		k, err := c.begin(ctx, id(asked[at[0]]))
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
		for i, r := range do(ctx, part) {
			results[at[i]] = r
			each := call{circuit: c, session: hash(id(part[i])), began: k.began}
			each.end(ctx, failure(r))
		}
	}
	if len(places) == 1 {
		for shard, at := range places {
			ask(shard, at)
		}
		return results
	}
	var all sync.WaitGroup
	panics := make(chan any, len(places))
	for shard, at := range places {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics <- p
				}
			}()
			ask(shard, at)
		})
	}
	all.Wait()
	select {
	case p := <-panics:
		panic(p)
	default:
		return results
	}
}
