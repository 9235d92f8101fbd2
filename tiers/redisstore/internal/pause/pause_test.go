package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
)

func TestAPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if !pause.For(ctx, 2*time.Second) || time.Since(began) != 2*time.Second {
			t.Errorf("it ended after %v", time.Since(began))
		}
		if pause.For(ctx, time.Hour) || pause.Before(ctx, 1) || time.Since(began) != 3*time.Second {
			t.Errorf("it outlasts its context, or says that it doesn't, after %v", time.Since(began))
		}
	})
}

func TestPausesBeforeAttemptsGrowUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for failed, most := range map[int]time.Duration{1: 8 * time.Millisecond, 2: 16 * time.Millisecond, 7: 512 * time.Millisecond, 1000: 512 * time.Millisecond} {
			began := time.Now()
			pause.Before(context.Background(), failed)
			if took := time.Since(began); took < most/2 || took >= most {
				t.Errorf("after %d it takes %v, want %v to %v", failed, took, most/2, most)
			}
		}
	})
}
