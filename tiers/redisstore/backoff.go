package redisstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// patience is how many losses in a row a commit takes before it backs off.
const patience = 3

// wait lets others go first after some losses in a row, for 64 ms at most.
func wait(ctx context.Context, losses int) error {
	if losses < patience {
		return nil
	}
	timer := time.NewTimer(rand.N(time.Millisecond << min(losses-patience, 6)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fault(ctx, "EVAL", ctx.Err())
	}
}
