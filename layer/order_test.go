package layer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// orderTime is how long each part of TestNoNodeShowsAnOlderState takes; STRATA_ORDER=60s for
// a long one.
func orderTime(t *testing.T) time.Duration {
	long := os.Getenv("STRATA_ORDER")
	if long == "" {
		return 700 * time.Millisecond
	}
	d, err := time.ParseDuration(long)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// jitter delays some commands on their way to the server, and some replies on theirs.
type jitter struct{}

func (jitter) pause() {
	switch n := rand.IntN(16); {
	case n < 4:
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	case n == 4:
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
}

func (jitter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (j jitter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		j.pause()
		defer j.pause()
		return next(ctx, cmd)
	}
}

func (j jitter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		j.pause()
		defer j.pause()
		return next(ctx, cmds)
	}
}

const (
	leastReads    = 200
	orderWorkers  = 8
	orderSessions = 3
)

// sight is a state of a session by which readers distinguish it from others: its log-in, or that there is
// none since, and the version of each worker's key.
type sight struct {
	rank     int // twice the number of the log-in, and one more after it
	versions [orderWorkers]int
}

// older reports whether a state is older than one that was seen before.
func (s sight) older(before sight) bool {
	if s.rank != before.rank {
		return s.rank < before.rank
	}
	for n, version := range s.versions {
		if version < before.versions[n] {
			return true
		}
	}
	return false
}

// sights are the newest states that readers of a node have seen. mu guards them.
type sights struct {
	mu   sync.Mutex
	seen [orderSessions]sight
}

func (s *sights) floor(session int) sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[session]
}

func (s *sights) add(session int, now sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch seen := &s.seen[session]; {
	case now.rank > seen.rank:
		*seen = now
	case now.rank == seen.rank:
		for n := range seen.versions {
			seen.versions[n] = max(seen.versions[n], now.versions[n])
		}
	}
}

// sightOf is what a reader sees who has seen a state before, or others of its node have.
func sightOf(data map[string]any, before sight) sight {
	number := func(key string) int {
		n, _ := data[key].(json.Number)
		v, _ := n.Int64()
		return int(v)
	}
	if number("login") == 0 {
		return sight{rank: before.rank | 1}
	}
	now := sight{rank: 2 * number("login")}
	for n := range now.versions {
		now.versions[n] = number(fmt.Sprint("worker", n))
	}
	return now
}

// Whatever overlaps, no reader of a node gets a state that is older than one that another reader of
// the same node had got before it asked.
func TestNoNodeShowsAnOlderState(t *testing.T) {
	t.Parallel()
	chains := map[string][]func() layer.Decorator{
		"Local":            {func() layer.Decorator { return patientLocal() }},
		"Coalesced, Local": {func() layer.Decorator { return patientCoalesced() }, func() layer.Decorator { return patientLocal() }},
		"WriteBehind, Local": {
			func() layer.Decorator { return patientCoalesced(layer.WriteBehind(5 * time.Millisecond)) },
			func() layer.Decorator { return patientLocal() },
		},
	}
	for name, decorators := range chains {
		for _, nodes := range []int{2, 3} {
			for _, delayed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d nodes, delays %t", name, nodes, delayed), func(t *testing.T) {
					t.Parallel()
					o := &ordering{managers: make([]*gsession.Manager, nodes), shown: make([]sights, nodes)}
					// A node that writes behind shows a change which the store refuses later,
					// because the session was ended elsewhere.
					o.relogins = name != "WriteBehind, Local"
					server := redistest.Start(t)
					for n := range nodes {
						client := client(t, server)
						if delayed {
							client.AddHook(jitter{})
						}
						var layers []layer.Decorator
						for _, d := range decorators {
							layers = append(layers, d())
						}
						chain := layer.Chain(redisstore.New(client), layers...)
						t.Cleanup(func() { _ = chain.Close(context.Background()) })
						o.managers[n] = gsession.New(time.Hour, chain)
					}
					o.run(t, orderTime(t))
				})
			}
		}
	}
}

// ordering is one run: nodes of one store.
type ordering struct {
	managers []*gsession.Manager
	shown    []sights // by each node
	relogins bool
	reads    atomic.Int64
}

func (o *ordering) run(t *testing.T, d time.Duration) {
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for n := range orderWorkers {
		all.Go(func() {
			w := orderWorker{ordering: o, number: n, node: n % len(o.managers)}
			for (time.Now().Before(end) || o.reads.Load() < leastReads && time.Now().Before(end.Add(time.Minute))) && !t.Failed() {
				w.step(t)
			}
		})
	}
	all.Wait()
	if n := o.reads.Load(); n < leastReads && !t.Failed() {
		t.Errorf("only %d reads", n)
	}
}

// orderWorker writes a key of its own in all sessions, always on the same node, and reads on
// all nodes. The first ones also log a session of theirs in and out.
type orderWorker struct {
	*ordering
	number, node int
	version      int
	logins       int
}

func (w *orderWorker) step(t *testing.T) {
	session := rand.IntN(orderSessions)
	id := fmt.Sprint("session", session)
	ctx := context.Background()
	switch n := rand.IntN(40); {
	case n < 12:
		r := w.managers[w.node].New(ctx, id)
		data, err := r.Data()
		if err != nil {
			t.Error(err)
		}
		if data["login"] == nil {
			return
		}
		w.version++
		r.MustSet(fmt.Sprint("worker", w.number), w.version)
		if err := r.Close(); err != nil && !errors.Is(err, layer.ErrRevoked) {
			t.Error(err)
		}
	case n == 12 && w.number < orderSessions && (w.logins == 0 || w.relogins):
		w.relogin(t, fmt.Sprint("session", w.number))
	case n == 13:
		r := w.managers[w.node].New(ctx, id) // a read-only request
		r.MustData()
		if err := r.Close(); err != nil && !errors.Is(err, layer.ErrRevoked) {
			t.Error(err)
		}
	default:
		node := rand.IntN(len(w.managers))
		before := w.shown[node].floor(session)
		data, err := w.managers[node].New(ctx, id).Data()
		if err != nil {
			t.Error(err)
			return
		}
		now := sightOf(data, before)
		if now.older(before) {
			t.Errorf("node %d shows %v of session %d after %v", node, now, session, before)
		}
		w.shown[node].add(session, now)
		w.reads.Add(1)
	}
}

// relogin ends a session, and begins it again now and then at once.
func (w *orderWorker) relogin(t *testing.T, id string) {
	manager := w.managers[w.node]
	r := manager.New(context.Background(), id)
	if w.logins > 0 {
		if err := r.RemoveAll(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		}
		r = manager.New(context.Background(), id)
	}
	w.logins++
	r.MustSet("login", w.logins)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// A node's own writes stay in its memory: reads that come right after them ask Redis only
// where the state has waited for too long to be read again.
func TestOwnWritesStayWarm(t *testing.T) {
	for name, decorators := range map[string][]layer.Decorator{
		"Local":              {patientLocal()},
		"Coalesced, Local":   {patientCoalesced(), patientLocal()},
		"WriteBehind, Local": {patientCoalesced(layer.WriteBehind(5 * time.Millisecond)), patientLocal()},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			chain := layer.Chain(redisstore.New(client(t, server)), decorators...)
			t.Cleanup(func() { _ = chain.Close(context.Background()) })
			tier, _ := layer.As[*local.Storage](chain)
			manager := gsession.New(time.Hour, chain)
			poll.Until(t, "a session is served from memory", func() bool {
				manager.New(context.Background(), "warm").MustData()
				return tier.Tally().Total(telemetry.ReadNegative) > 0
			})
			count := tier.Tally().Total
			asked := func() int64 {
				return int64(count(telemetry.ReadMiss)) - int64(count(telemetry.RefusedUnread)) - int64(count(telemetry.RefusedUnvouched))
			}
			const workers, turns = 4, 250
			run := func() (misses, overlaps int64) {
				asks, ownWrites := asked(), int64(count(telemetry.InvalidatedByOwnWrite))
				var all sync.WaitGroup
				for n := range workers {
					all.Go(func() {
						id := fmt.Sprint("own", n)
						write := func(value int) {
							r := manager.New(context.Background(), id)
							r.MustSet("k", value)
							if err := r.Close(); err != nil {
								t.Error(err)
							}
						}
						for turn := range turns {
							write(turn)
							if got := manager.New(context.Background(), id).MustGet("k").Int(); got != turn {
								t.Errorf("%d after %d", got, turn)
							}
						}
					})
				}
				all.Wait()
				return asked() - asks, int64(count(telemetry.InvalidatedByOwnWrite)) - ownWrites
			}
			// One for each change would be 1,000. On a machine that is slow just now, invalidations
			// come in lots, of which a few are taken for those of own writes, and states wait for too
			// long to be read again: the next run may be luckier.
			var misses, overlaps int64
			if !poll.Try(func() bool {
				misses, overlaps = run()
				return misses <= workers*turns/4 && overlaps == 0 || t.Failed()
			}) {
				t.Errorf("%d of %d reads asked Redis, and %d states were taken for overlapping ones", misses, 2*workers*turns, overlaps)
			}
		})
	}
}
