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
func TestWhatAFullQueueRefusesIsCounted(t *testing.T) {
	const room = 64
	s := New(teststore.New(), Exclusive(), MaxBytes(room*parcelBytes))
	defer s.Close(context.Background())
	patience := time.Now().Add(30 * time.Second)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for hash := uint64(n) << 32; s.tally.Total(telemetry.RejectedByQueue) == 0 && time.Now().Before(patience); hash++ {
				turn := s.keeping.turn(hash)
				turn.Lock()
				s.set(hash, &parcel{}, parcelBytes)
				turn.Unlock()
			}
		})
	}
	group.Wait()
	s.cache.Wait()
	if s.tally.Total(telemetry.RejectedByQueue) == 0 {
		t.Error("nothing was refused")
	}
	if held := s.sessions.Load(); held < 1 || held > room {
		t.Errorf("%d sessions are said to be held where there is room for %d", held, room)
	}
}

// What ristretto was given, and takes a moment later, isn't found under the stamp of another
// state that was loaded meanwhile.
func TestWhatRistrettoTakesLaterIsInvalid(t *testing.T) {
	for name, size := range map[string]int{"small": 1, "large": mostSmall} {
		s := New(teststore.New(), Exclusive())
		for n := range 200 {
			id := fmt.Sprint(name, n)
			hash := s.guard.Hash(id)
			load := func(k int) *entry {
				e := &entry{id: id, snapshot: tiers.Adopt(map[string]any{"k": k, "text": strings.Repeat("x", size)})}
				s.loaded(s.begin(hash, false), e, true)
				return e
			}
			first := load(1)
			turn := s.keeping.turn(hash)
			turn.Lock()
			if s.warm.find(hash) != nil {
				s.warm.drop(hash)
				s.gate.do(hash, func() { s.rest(first) })
			}
			turn.Unlock()
			second := load(2)
			s.cache.Wait()
			if first.stamp == second.stamp {
				t.Fatalf("%s: two states have one stamp", name)
			}
		}
		s.Close(context.Background())
	}
}
