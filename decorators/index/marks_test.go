package index

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/principals"
)

// counted has a mark for everybody, whose nonce is a number.
type counted struct {
	*memory
	nonce *atomic.Int64
}

func (c counted) Marks(context.Context, []int) ([]principals.Marks, error) {
	return []principals.Marks{{All: principals.Mark{Nonce: strconv.FormatInt(c.nonce.Load(), 10)}}}, nil
}

// A mark that was set while nothing was vouched for is found by a check that begins after it, also if the source
// vouches anew while the check is under way.
func TestMarksOfBeforeALossArentTakenForThoseAfterIt(t *testing.T) {
	var nonce atomic.Int64
	m := newMarks(counted{newMemory(), &nonce})
	var key principals.Key
	var over atomic.Bool
	var checks sync.WaitGroup
	for range 4 {
		checks.Go(func() {
			for !over.Load() {
				least := nonce.Load()
				if state := m.fresh(&m.shards[0]); state != nil {
					if found, _ := strconv.ParseInt(state.All.Nonce, 10, 64); found < least {
						t.Errorf("mark %d in place of %d", found, least)
						over.Store(true)
					}
				}
			}
		})
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end) && !over.Load(); {
		m.ValidUntil(time.Time{})
		nonce.Add(1)
		m.InvalidateAll()
		m.ValidUntil(time.Now().Add(time.Hour))
		if _, err := m.of(context.Background(), key); err != nil {
			t.Fatal(err)
		}
	}
	over.Store(true)
	checks.Wait()
}
