package index

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// A mark of a process outlives the sessions that its index knows, and one that never expires.
func TestAMarkOutlivesTheSessions(t *testing.T) {
	for _, ttl := range []time.Duration{0, 90 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			ctx := context.Background()
			m := newMemory()
			if err := m.Touch(ctx, []principals.Entry{{Principal: "ann", Key: principals.KeyOf("ann"), ID: "id", Tag: newTag(), TTL: ttl}}); err != nil {
				t.Fatal(err)
			}
			if err := m.MarkAll(ctx, principals.Mark{Nonce: "n"}, time.Hour); err != nil {
				t.Fatal(err)
			}
			time.Sleep(89 * 24 * time.Hour)
			if err := m.Touch(ctx, nil); err != nil { // sweeps
				t.Fatal(err)
			}
			if marks, err := m.Marks(ctx, []int{0}); err != nil || marks[0].All.Nonce != "n" {
				t.Errorf("ttl %v: the mark is gone, %v", ttl, err)
			}
		})
	}
}

// A session that never expires is noted as in use once a minute, as others are.
func TestASessionThatNeverExpiresIsNotedNowAndThen(t *testing.T) {
	var r recent
	if !r.due(context.Background(), "id", 0) || r.due(context.Background(), "id", 0) {
		t.Error("the session is noted at each request, or never")
	}
}
