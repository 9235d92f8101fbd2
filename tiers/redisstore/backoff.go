package redisstore

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// patience is how many losses in a row a commit takes before it lets chance decide.
const patience = 8

// maxPause stays below a round trip of a busy session: a loss means that another
// commit has won, and whoever paused longer the more it lost would lose for good.
const maxPause = time.Millisecond

// wait breaks the step of commits that race each other.
func wait(ctx context.Context, losses int) error {
	if losses < patience {
		return nil
	}
	timer := time.NewTimer(rand.N(maxPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fault.New(ctx, "EVAL", ctx.Err())
	}
}

// Pauses before a command that failed is sent again, as go-redis makes them.
const (
	firstRetry = 8 * time.Millisecond
	lastRetry  = 512 * time.Millisecond
)

// pause waits before an attempt, and reports false where ctx ends before it.
func pause(ctx context.Context, attempt int) bool {
	most := lastRetry
	if attempt < 7 {
		most = firstRetry << (attempt - 1)
	}
	timer := time.NewTimer(most/2 + rand.N(most/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
