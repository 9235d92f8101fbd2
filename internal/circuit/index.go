package circuit

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// Index is an index of principals behind circuits, one for each node: log-ins and reads of marks don't each wait for a node that
// hangs. They aren't those of the sessions, which don't pay for what fails of the index alone. Calls that ask all nodes, and reasons, which wait
// for a moment, go by them.
//
// Index and life are set at construction; mu guards nodes, which keeps each node that it has seen.
type Index struct {
	principals.Index
	life context.Context // of probes

	mu    sync.Mutex
	nodes map[string]*node
}

// OverIndex puts circuits on an index. Probes end with life, and an open circuit lets callers through from then on.
func OverIndex(life context.Context, inner principals.Index) *Index {
	return &Index{Index: inner, life: life, nodes: map[string]*node{}}
}

func (x *Index) node(shard int) *node {
	name := x.Node(shard)
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.nodes[name]
	if n == nil {
		n = &node{}
		x.nodes[name] = n
	}
	return n
}

// indexed makes a call for a shard if the circuit of its node lets it. of is what other calls differ by.
func indexed[R any](ctx context.Context, x *Index, shard int, of string, do func() (R, error)) (r R, err error) {
	n := x.node(shard)
	due, err := n.reads.enter(time.Now(), false, ErrIndexOpen)
	if err != nil && x.life.Err() == nil {
		if due {
			x.probe(n, shard)
		}
		return r, err
	}
	k := n.reads.begin(ctx, of)
	defer k.stop()
	r, err = do()
	k.end(ctx, err)
	return r, err
}

// probe reads a shard's marks in the background, so that no caller waits for it.
func (x *Index) probe(n *node, shard int) {
	n.probe(x.life, strconv.Itoa(shard), func(ctx context.Context) error {
		_, err := x.Index.Marks(ctx, []int{shard})
		return err
	})
}

func (x *Index) write(ctx context.Context, key principals.Key, do func() error) error {
	_, err := indexed(ctx, x, x.ShardOf(key), string(key[:]), func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (x *Index) Enter(ctx context.Context, e principals.Entry, others int) (principals.Entered, error) {
	return indexed(ctx, x, x.ShardOf(e.Key), string(e.Key[:]), func() (principals.Entered, error) { return x.Index.Enter(ctx, e, others) })
}

func (x *Index) Entries(ctx context.Context, key principals.Key, after principals.Entry, most int) ([]principals.Entry, error) {
	return indexed(ctx, x, x.ShardOf(key), string(key[:]), func() ([]principals.Entry, error) { return x.Index.Entries(ctx, key, after, most) })
}

func (x *Index) Mark(ctx context.Context, key principals.Key, mark principals.Mark, lasts time.Duration) (principals.Mark, error) {
	return indexed(ctx, x, x.ShardOf(key), string(key[:]), func() (principals.Mark, error) { return x.Index.Mark(ctx, key, mark, lasts) })
}

func (x *Index) MarkEnded(ctx context.Context, e principals.Entry, reason principals.Reason, lasts time.Duration) error {
	return x.write(ctx, e.Key, func() error { return x.Index.MarkEnded(ctx, e, reason, lasts) })
}

// Leave goes by the circuit where it is about several principals.
func (x *Index) Leave(ctx context.Context, entries []principals.Entry) error {
	for _, e := range entries {
		if e.Key != entries[0].Key {
			return x.Index.Leave(ctx, entries)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return x.write(ctx, entries[0].Key, func() error { return x.Index.Leave(ctx, entries) })
}

// Marks goes by the circuit where it reads several shards, as nobody waits for that: it is what shows first that a server is back which
// sends invalidations.
func (x *Index) Marks(ctx context.Context, shards []int) ([]principals.Marks, error) {
	if len(shards) != 1 {
		marks, err := x.Index.Marks(ctx, shards)
		for _, shard := range shards {
			if err == nil {
				x.node(shard).reads.succeeded()
			}
		}
		return marks, err
	}
	return indexed(ctx, x, shards[0], strconv.Itoa(shards[0]), func() ([]principals.Marks, error) { return x.Index.Marks(ctx, shards) })
}
