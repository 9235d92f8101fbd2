package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Where too many sessions come at once ristretto takes only some: the others are counted,
// and aren't said to be held.
func TestEntriesThatAFullQueueRefusesAreCounted(t *testing.T) {
	const room = 64
	s := New(teststore.New(), Exclusive(), MaxBytes(room*entryBytes))
	defer s.Close(context.Background())
	deadline := time.Now().Add(30 * time.Second)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for hash := uint64(n) << 32; s.tally.Total(telemetry.RejectedByQueue) == 0 && time.Now().Before(deadline); hash++ {
				turn := s.memory.stripe(hash)
				turn.Lock()
				s.memory.set(hash, &packed{}, entryBytes)
				turn.Unlock()
			}
		})
	}
	group.Wait()
	s.memory.cache.Wait()
	if s.tally.Total(telemetry.RejectedByQueue) == 0 {
		t.Error("nothing was refused")
	}
	if held := s.memory.sessions.Load(); held < 1 || held > room {
		t.Errorf("%d sessions are said to be held where there is room for %d", held, room)
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
			load := func(k int) *entry {
				e := &entry{id: id, snapshot: tiers.Adopt(map[string]any{"k": k, "text": strings.Repeat("x", size)})}
				s.order.loaded(s.order.begin(hash, false), e, true)
				return e
			}
			first := load(1)
			turn := s.memory.stripe(hash)
			turn.Lock()
			if s.memory.hot.find(hash) != nil {
				s.memory.hot.drop(hash)
				s.memory.gate.do(hash, func() { s.memory.demote(first) })
			}
			turn.Unlock()
			second := load(2)
			s.memory.cache.Wait()
			if first.stamp == second.stamp {
				t.Fatalf("%s: two states have one stamp", name)
			}
		}
		s.Close(context.Background())
	}
}
