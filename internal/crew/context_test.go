package crew_test

import (
	"context"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/crew"
)

func TestAContextWithinItsOwnerHasTheCallersValues(t *testing.T) {
	type key struct{}
	owner, end := context.WithCancel(context.Background())
	caller, leave := context.WithTimeout(context.WithValue(context.Background(), key{}, "caller's"), time.Hour)
	ctx := crew.Within(owner, caller)
	child, cancel := context.WithCancel(ctx)
	defer cancel()

	if _, has := ctx.Deadline(); has || ctx.Value(key{}) != "caller's" {
		t.Error("it has the caller's end, or not its values")
	}
	leave()
	if ctx.Err() != nil || child.Err() != nil {
		t.Error("it has ended with the caller")
	}
	end()
	if ctx.Err() != context.Canceled || child.Err() != context.Canceled { // child at once: no goroutine passes it on
		t.Error("it has not ended with its owner")
	}
}
