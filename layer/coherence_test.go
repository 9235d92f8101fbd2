package layer_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// versions is a store that counts up a version of each session with every change,
// of any client, takes its time, and invalidates each change some time later, in order,
// as Redis does: own writes too, and some of them twice.
//
// mu guards all fields but random and out.
type versions struct {
	gsession.StorageBase
	random *random
	out    chan notification // on their way

	mu       sync.Mutex
	listener tiers.InvalidationListener
	last     map[string]int          // the version of each session
	there    map[string]map[int]bool // by version, whether there was a session
}

type notification struct {
	id      string
	version int
}

// random is a source of delays that goroutines share. mu guards it.
type random struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (r *random) n(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.IntN(n)
}

// pause lets others in, at the same instant or a little later.
func (r *random) pause() { time.Sleep(time.Duration(1+r.n(4)) * time.Microsecond / 2) }

func newVersions(seed uint64) *versions {
	return &versions{
		random: &random{r: rand.New(rand.NewPCG(seed, 0))}, out: make(chan notification, 1<<16),
		last: map[string]int{}, there: map[string]map[int]bool{},
	}
}

// change makes the next version of a session.
func (s *versions) change(id string, there bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[id]++
	if s.there[id] == nil {
		s.there[id] = map[int]bool{}
	}
	s.there[id][s.last[id]] = there
	for range 1 + s.random.n(8)/7 {
		s.out <- notification{id, s.last[id]}
	}
	return s.last[id]
}

// newest returns the session as it is.
func (s *versions) newest(id string) (version int, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[id], s.there[id][s.last[id]]
}

func (s *versions) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

func versioned(v int) *tiers.Snapshot {
	return tiers.Adopt(map[string]any{"version": v}).Expiring(time.Now().Add(time.Hour))
}

func (s *versions) Load(_ context.Context, id string, _ time.Duration) (tiers.Read, error) {
	s.random.pause()
	version, there := s.newest(id)
	s.random.pause()
	if !there {
		return tiers.Read{}, nil
	}
	return tiers.Read{Snapshot: versioned(version)}, nil
}

func (s *versions) Commit(_ context.Context, id string, _ *tiers.Delta, _ time.Duration) (*tiers.Snapshot, error) {
	s.random.pause()
	version := s.change(id, true)
	time.Sleep(time.Duration(s.random.n(40)) * time.Microsecond) // others write meanwhile
	return versioned(version), nil
}

func (s *versions) Slide(context.Context, string, time.Duration) (time.Time, error) {
	return time.Now().Add(time.Hour), nil
}

func (s *versions) RemoveAll(_ context.Context, id string) error {
	s.random.pause()
	s.change(id, false)
	s.random.pause()
	return nil
}

func (s *versions) Subscribe(l tiers.InvalidationListener) (stop func()) {
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	return func() {}
}

// shows reports whether what was read is no older than a version.
func (s *versions) shows(read tiers.Read, id string, version int) bool {
	if read.Snapshot != nil {
		return read.Snapshot.Get("version").(int) >= version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := version; v <= s.last[id]; v++ {
		if !s.there[id][v] {
			return true
		}
	}
	return false
}

// knowledge is what readers may count on. All fields are atomics.
type knowledge struct {
	own      atomic.Int64 // a version whose write has returned on this node
	received atomic.Int64 // an invalidated version, of a session that this node doesn't write
}

func raise(known *atomic.Int64, version int) {
	for {
		before := known.Load()
		if before >= int64(version) || known.CompareAndSwap(before, int64(version)) {
			return
		}
	}
}

// coherent lets this node and others write a few sessions, and readers check what they see.
func coherent(t *testing.T, seed uint64, decorators ...layer.Decorator) {
	ctx := context.Background()
	store := newVersions(seed)
	chain := layer.Chain(store, decorators...)
	defer func() {
		if err := chain.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	node := sessionmap.Adapt(chain.Unwrap())
	ids := []string{"ours", "ours too", "theirs", "theirs too"}
	known := map[string]*knowledge{}
	for _, id := range ids {
		known[id] = &knowledge{}
	}
	replace, err := tiers.Replace(map[string]any{"version": 0})
	if err != nil {
		t.Fatal(err)
	}

	var lapses atomic.Int64 // odd while nobody vouches
	var notifier, all sync.WaitGroup
	notifier.Go(func() {
		store.listener.InvalidateAll()
		store.listener.ValidUntil(time.Now().Add(time.Hour))
		for next := range store.out {
			store.random.pause()
			if store.random.n(10) == 0 {
				store.listener.ValidUntil(time.Time{})
				lapses.Add(1)
				store.random.pause()
				lapses.Add(1)
				store.listener.InvalidateAll() // this one, for example
				store.listener.ValidUntil(time.Now().Add(time.Hour))
			} else {
				store.listener.Invalidate(next.id)
			}
			raise(&known[next.id].received, next.version)
		}
	})
	for range 2 { // other nodes
		all.Go(func() {
			for range store.random.n(20) {
				time.Sleep(time.Duration(store.random.n(40)) * time.Microsecond)
				store.change(ids[store.random.n(4)], store.random.n(3) > 0)
			}
		})
	}
	for range 3 { // this node
		all.Go(func() {
			for range store.random.n(15) {
				time.Sleep(time.Duration(store.random.n(40)) * time.Microsecond)
				id := ids[store.random.n(2)]
				if store.random.n(5) == 0 {
					before, _ := store.newest(id)
					if err := node.RemoveAll(ctx, id); err != nil {
						t.Error(err)
					}
					raise(&known[id].own, before+1)
					continue
				}
				state, err := node.Commit(ctx, id, replace, time.Hour)
				if err != nil && !errors.Is(err, tiers.ErrRevoked) {
					t.Error(err)
				}
				if err == nil && state != nil {
					raise(&known[id].own, state.Get("version").(int))
				}
			}
		})
	}
	var over atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !over.Load() {
				store.random.pause()
				n := store.random.n(4)
				id, lapse := ids[n], lapses.Load()
				least := known[id].own.Load()
				if n >= 2 {
					least = max(least, known[id].received.Load())
				}
				read, err := node.Load(ctx, id, time.Hour)
				if err != nil {
					t.Error(err)
				}
				if !store.shows(read, id, int(least)) {
					t.Errorf("seed %d: %s shows a state from before version %d (%v)", seed, id, least, read.Outcome)
				}
				memory := read.Outcome == tiers.OutcomeHit || read.Outcome == tiers.OutcomeNegative
				if lapse%2 == 1 && lapses.Load() == lapse && memory {
					t.Errorf("seed %d: %s was served from memory while no source vouched", seed, id)
				}
			}
		})
	}
	all.Wait()
	close(store.out)
	notifier.Wait()
	over.Store(true)
	readers.Wait()
	time.Sleep(10 * time.Millisecond) // invalidated sessions are read again by then

	for _, id := range ids {
		for _, outcome := range []string{"first", "from memory"} {
			read, err := node.Load(ctx, id, time.Hour)
			if err != nil {
				t.Error(err)
			}
			synctest.Wait()
			version, there := store.newest(id)
			if !store.shows(read, id, version) || there != (read.Snapshot != nil) {
				t.Errorf("seed %d: %s, %s (%v): not the newest state in the end", seed, id, outcome, read.Outcome)
			}
			if outcome == "from memory" && (read.Outcome == tiers.OutcomeMiss || read.Outcome == tiers.OutcomeStore) {
				t.Errorf("seed %d: %s isn't in memory in the end", seed, id)
			}
		}
	}
}

// A node sees its own writes at once, those of others as soon as they are invalidated, and
// nothing old in the end, however all of it overlaps.
func TestMemoryStaysCoherent(t *testing.T) {
	for name, decorators := range map[string]func() []layer.Decorator{
		"Local": func() []layer.Decorator { return []layer.Decorator{patientLocal(layer.MaxStale(time.Hour))} },
		"Coalesced": func() []layer.Decorator {
			return []layer.Decorator{layer.Coalesced(), patientLocal(layer.MaxStale(time.Hour))}
		},
		"few guard slots": func() []layer.Decorator {
			return []layer.Decorator{layer.Coalesced(), patientLocal(layer.MaxStale(time.Hour), guardSlots(1))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			seed, err := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if seed == 0 {
				seed = rand.Uint64()
			}
			for range coherenceRounds {
				seed++
				if t.Failed() {
					return
				}
				synctest.Test(t, func(t *testing.T) { coherent(t, seed, decorators()...) })
			}
		})
	}
}

// coherenceRounds take a few seconds; many more have passed.
const coherenceRounds = 40

var _ tiers.InvalidationSource = (*versions)(nil)
