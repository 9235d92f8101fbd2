package local

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
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
				s.set(hash, &parcel{}, parcelBytes)
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
