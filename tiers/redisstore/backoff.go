package redisstore

import (
	"context"
	"math/rand/v2"
	"time"
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
		return fault(ctx, "EVAL", ctx.Err())
	}
}
