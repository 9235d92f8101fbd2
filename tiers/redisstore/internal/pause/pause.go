// Package pause waits, but no longer than a context lasts.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// For reports false where ctx ends first.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Pauses before a command that failed is sent again, as go-redis makes them.
const (
	firstRetry = 8 * time.Millisecond
	lastRetry  = 512 * time.Millisecond
)

// Before waits before the attempt that follows a number of failed ones, and reports false where
// ctx ends first.
func Before(ctx context.Context, failed int) bool {
	most := lastRetry
	if failed < 7 {
		most = firstRetry << (failed - 1)
	}
	return For(ctx, most/2+rand.N(most/2))
}
