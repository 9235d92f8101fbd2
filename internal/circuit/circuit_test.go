package circuit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var errDown = errors.New("down")

// sick is a store whose reads and writes take a time, and fail with an error where it is set.
// It is one of two nodes; ids begin with the node's name, and b is always well.
type sick struct {
	*teststore.Store
	takes         atomic.Int64 // nanoseconds
	reads, writes error
	deaf          bool // to its context
	asked         atomic.Int64
}

func (s *sick) Shard(id string) string { return id[:1] }

func (s *sick) call(ctx context.Context, id string, err error) error {
	if id[0] == 'b' {
		return nil
	}
	s.asked.Add(1)
	takes := time.Duration(s.takes.Load())
	if s.deaf {
		time.Sleep(takes)
		return err
	}
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sick) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if err := s.call(ctx, id, s.reads); err != nil {
		return tiers.Read{}, err
	}
	return s.Store.Load(ctx, id, ttl)
}

func (s *sick) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if err := s.call(ctx, id, s.writes); err != nil {
		return nil, err
	}
	return s.Store.Commit(ctx, id, delta, ttl)
}

// load reads a session, for a second at most, and returns how long that took.
func load(s tiers.Storage, id string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	_, err = s.Load(ctx, id, time.Hour)
	return time.Since(began), err
}

func commit(s tiers.Storage, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	delta, err := tiers.Replace(map[string]any{"k": 1})
	if err == nil {
		_, err = s.Commit(ctx, id, delta, time.Hour)
	}
	return err
}

func TestAHungStoreIsAskedNowAndThen(t *testing.T) {
	for name, deaf := range map[string]bool{"heeds contexts": false, "is deaf": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &sick{Store: teststore.New(), deaf: deaf}
				store.takes.Store(int64(time.Minute))
				s, circuits := circuit.Over(store)
				for n := range circuit.Trips {
					go func() { _, _ = load(s, fmt.Sprint("a", n)) }()
				}
				time.Sleep(1100 * time.Millisecond)
				before := store.asked.Load()
				for n := range 1000 {
					took, err := load(s, fmt.Sprint("b", n))
					if err != nil || took > 0 {
						t.Fatalf("the other node returns %v after %v", err, took)
					}
					took, err = load(s, fmt.Sprint("a", n))
					if took > 0 || !errors.Is(err, circuit.ErrOpen) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("refused with %v after %v, want at once, and why", err, took)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if n := store.asked.Load() - before; n < 16 || n > 45 {
					t.Errorf("the store was asked %d times in 10 s, want about one each %v", n, circuit.Pause)
				}
				store.takes.Store(0)
				time.Sleep(time.Minute)
				if _, err := load(s, "a"); !errors.Is(err, circuit.ErrOpen) {
					t.Errorf("the first caller gets %v, want the probe to go instead", err)
				}
				synctest.Wait()
				if took, err := load(s, "a1"); err != nil || took > 0 {
					t.Errorf("once the store is back: %v", err)
				}
				circuits.Close()
			})
		})
	}
}

// One session's failures open nothing, and a store that fails at once is asked each
// time, so that each caller gets its own error.
func TestWhatOpensNoCircuit(t *testing.T) {
	for name, test := range map[string]struct {
		takes   time.Duration
		id      func(n int) string
		between func(s *sick, c tiers.Storage)
	}{
		"one session": {10 * time.Second, func(int) string { return "a" }, func(*sick, tiers.Storage) {}},
		"one session among others that are well": {10 * time.Second, func(n int) string { return fmt.Sprint("a", n) }, func(s *sick, c tiers.Storage) {
			takes := s.takes.Swap(0)
			if _, err := load(c, "a well"); err != nil {
				t.Error(err)
			}
			s.takes.Store(takes)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &sick{Store: teststore.New()}
				store.takes.Store(int64(test.takes))
				s, _ := circuit.Over(store)
				for n := range 10 {
					if _, err := load(s, test.id(n)); errors.Is(err, circuit.ErrOpen) {
						t.Errorf("call %d is refused", n)
					}
					test.between(store, s)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		store := &sick{Store: teststore.New(), reads: errDown}
		s, _ := circuit.Over(store)
		for n := range 10 {
			if _, err := load(s, fmt.Sprint("a", n)); !errors.Is(err, errDown) || errors.Is(err, circuit.ErrOpen) {
				t.Errorf("call %d returns %v", n, err)
			}
		}
		store.reads = nil
		if _, err := load(s, "a"); err != nil {
			t.Errorf("the first call once the store is back returns %v", err)
		}
	})
}

// A connection that can't be made isn't the fault of a session: a lone visitor's calls open the circuit.
func TestOneSessionOpensACircuitIfTheServerCanNotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		store := &sick{Store: teststore.New(), reads: fmt.Errorf("wrapped: %w", dial)}
		store.takes.Store(int64(400 * time.Millisecond)) // of five attempts
		s, circuits := circuit.Over(store)
		for n := range circuit.Trips {
			if _, err := load(s, "a"); err == nil || errors.Is(err, circuit.ErrOpen) {
				t.Errorf("call %d returns %v", n, err)
			}
		}
		if took, err := load(s, "a"); !errors.Is(err, circuit.ErrOpen) || took > 0 {
			t.Errorf("returns %v after %v, want to be refused at once", err, took)
		}
		circuits.Close()
	})
}

// A store that refuses writes still returns reads; what no caller waits for heeds that.
func TestReadsAndWritesFailApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sick{Store: teststore.New(), writes: errDown}
		s, circuits := circuit.Over(store)
		for n := range circuit.Trips {
			if err := commit(s, fmt.Sprint("a", n)); !errors.Is(err, errDown) {
				t.Errorf("a commit returns %v", err)
			}
		}
		if until := circuits.Writes("a").Until(); !until.Equal(time.Now().Add(circuit.Pause)) {
			t.Errorf("writes wait until %v, want %v from now", until, circuit.Pause)
		}
		if until := circuits.Writes("b").Until(); !until.IsZero() {
			t.Error("writes of the other node wait")
		}
		if _, err := load(s, "a"); err != nil {
			t.Errorf("a read returns %v", err)
		}
		store.writes = nil
		if err := commit(s, "a"); err != nil || !circuits.Writes("a").Until().IsZero() {
			t.Errorf("a write once the store is back: %v", err)
		}
	})
}

// gsession asks for each key that a handler reads. A snapshot store refuses that without its server, and
// so it does while that is away.
func TestASnapshotStoreThatIsAwayRefusesKeysAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sick{Store: teststore.New()}
		store.takes.Store(int64(time.Minute))
		s, circuits := circuit.Over(store)
		ctx := context.Background()
		for n := range circuit.Trips {
			_, read := load(s, fmt.Sprint("a", n))
			if written := commit(s, fmt.Sprint("a", n)); read == nil || written == nil {
				t.Fatal("the store isn't away")
			}
		}
		asked := store.asked.Load()
		_, get := s.Get(ctx, "a", "k")
		_, data := s.Data(ctx, "a")
		_, size := s.GetSize(ctx, "a")
		set, all, remove := s.Set(ctx, "a", "k", 1, time.Hour), s.SetMap(ctx, "a", nil, time.Hour), s.Remove(ctx, "a", "k")
		for n, err := range []error{get, data, size, set, all, remove} {
			if !errors.Is(err, gsession.ErrorDisabled) || errors.Is(err, circuit.ErrOpen) {
				t.Errorf("call %d returns %v, want what the store returns", n, err)
			}
		}
		if n := store.asked.Load() - asked; n != 0 {
			t.Errorf("the server was asked %d times", n)
		}
		if _, err := load(s, "a"); !errors.Is(err, circuit.ErrOpen) {
			t.Errorf("a read of the session returns %v, want the circuit to be open", err)
		}
		circuits.Close()
	})
}

// A layer above one that has circuits stands on the same ones.
func TestCircuitsAreThereOnce(t *testing.T) {
	inner, circuits := circuit.Over(teststore.New())
	if _, again := circuit.Over(on{inner, circuits}); again != circuits {
		t.Error("there are circuits over circuits")
	}
}

type on struct {
	tiers.Storage
	circuits *circuit.Store
}

func (o on) Circuits() *circuit.Store { return o.circuits }

// lacking gives one result too few of a batch.
type lacking struct{ tiers.Base }

func (s lacking) Batches() bool { return true }

func (s lacking) CommitAll(_ context.Context, commits []tiers.Commit) []tiers.Committed {
	return make([]tiers.Committed, len(commits)-1)
}

func (s lacking) Reloads() bool { return true }

func (s lacking) LoadAll(_ context.Context, loads []tiers.Reload) []tiers.Reloaded {
	return make([]tiers.Reloaded, len(loads)-1)
}

// A commit without a result isn't taken for one that has succeeded, nor a read for one that has found no session.
func TestABatchThatLacksAResultFails(t *testing.T) {
	ctx := context.Background()
	_, s := circuit.Over(lacking{tiers.Base{Storage: teststore.New()}})
	defer s.Close()
	for n, committed := range s.CommitAll(ctx, []tiers.Commit{{ID: "a1"}, {ID: "a2"}}) {
		if committed.Err == nil {
			t.Errorf("commit %d succeeds", n)
		}
	}
	for n, read := range s.LoadAll(ctx, []tiers.Reload{{ID: "a1"}, {ID: "a2"}}) {
		if read.Err == nil {
			t.Errorf("read %d finds no session", n)
		}
	}
}
