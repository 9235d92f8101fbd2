package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Where too many sessions come at once ristretto takes only some: the others are counted,
// and aren't said to be held.
func TestEntriesThatRistrettoRefusesAreCounted(t *testing.T) {
	const room = 64
	s := New(teststore.New(), Exclusive(), MaxBytes(room*entryBytes))
	defer s.Close(context.Background())
	set := func(hash uint64) {
		turn := s.memory.lock(hash)
		defer turn.Unlock()
		s.memory.set(hash, &packed{})
	}
	var group sync.WaitGroup
	for n := range uint64(4) {
		group.Go(func() {
			for hash := range uint64(10_000) {
				set(n<<32 | hash)
			}
		})
	}
	group.Wait()
	s.memory.cache.Wait()
	if held := s.memory.sessions.Load(); held < 1 || held > room {
		t.Errorf("%d sessions are said to be held where there is room for %d", held, room)
	}
	s.memory.cache.Close() // it refuses all from now on, as it does what a full queue doesn't take
	refused, held := s.tally.Total(telemetry.RejectedByQueue), s.memory.sessions.Load()
	set(1)
	if s.tally.Total(telemetry.RejectedByQueue) != refused+1 || s.memory.sessions.Load() != held {
		t.Error("what was refused isn't counted, or is said to be held")
	}
}

// An entry that ristretto takes a moment after it was given it isn't found under the stamp of another
// state that was loaded meanwhile.
func TestAnEntryThatRistrettoTakesLaterIsInvalid(t *testing.T) {
	for name, size := range map[string]int{"small": 1, "large": mostSmall} {
		s := New(teststore.New(), Exclusive())
		for n := range 200 {
			id := fmt.Sprint(name, n)
			hash := s.memory.guard.Hash(id)
			load := func(k int) (stamp uint64) {
				state := tiers.Adopt(map[string]any{"k": k, "text": strings.Repeat("x", size)})
				s.order.loaded(s.order.begin(hash, false), id, tiers.Read{Snapshot: state}, 0, true)
				return s.memory.guard.Stamp(hash)
			}
			first := load(1)
			turn := s.memory.lock(hash)
			if e := s.memory.hot.find(hash); e != nil {
				s.memory.hot.drop(hash)
				s.memory.gate.do(hash, func() { s.memory.demote(e) })
			}
			turn.Unlock()
			second := load(2)
			s.memory.cache.Wait()
			if first == second {
				t.Fatalf("%s: two states have one stamp", name)
			}
		}
		s.Close(context.Background())
	}
}

// keepAll keeps sessions of some size until ristretto has had each of them several times, so that its policy prefers
// them to others.
func keepAll(s *Storage, sessions, size int) {
	state := tiers.Adopt(map[string]any{"k": strings.Repeat("x", size)})
	for range 5 {
		for n := range sessions {
			id := fmt.Sprint(n)
			hash := s.memory.guard.Hash(id)
			s.order.wrote(s.order.begin(hash, true), &entry{id: id, snapshot: state})
			for range 20 {
				s.memory.taken(hash)
			}
			s.memory.cache.Wait()
		}
	}
}

// Ristretto makes no room for a state that replaces a smaller one, nor for a new one that it refuses.
func TestSessionsThatGrowStayWithinTheBound(t *testing.T) {
	for name, size := range map[string]int{"packed": 8 << 10, "large": 2 * mostSmall, "beyond the bound": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			s := New(teststore.New(), Exclusive(), MaxBytes(1<<20))
			defer s.Close(context.Background())
			keepAll(s, 600, 512)
			keepAll(s, 600, size)
			if left := s.memory.cache.RemainingCost(); left < 0 {
				t.Errorf("%d bytes above the bound", -left)
			}
		})
	}
}

// A bound that becomes smaller is met although all sessions are in use.
func TestASmallerBoundIsMet(t *testing.T) {
	s := New(teststore.New(), Exclusive(), MaxBytes(4<<20))
	defer s.Close(context.Background())
	keepAll(s, 600, 4<<10)
	s.Change(Exclusive(), MaxBytes(1<<20))
	s.memory.cache.Wait()
	if left := s.memory.cache.RemainingCost(); left < 0 {
		t.Errorf("%d bytes above the bound", -left)
	}
	if s.memory.sessions.Load() == 0 {
		t.Error("nothing is held")
	}
}
