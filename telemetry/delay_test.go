package telemetry

import (
	"context"
	"sync"
	"testing"
	"time"
)

// A chain keeps its own delays, from the first question on, each in the bucket that includes it.
func TestDelaysOfAChain(t *testing.T) {
	var one, other Reporter
	one.Move(Standard().Over(1), nil)
	other.Move(Standard().Over(2), nil)
	one.Delayed(time.Millisecond)
	if all := one.Delays(); all != nil {
		t.Errorf("kept before anybody asked: %v", all)
	}
	store := NewStore(1)
	store.Report(other.sink())
	if !store.Begin().IsZero() {
		t.Error("the clock is read for nobody")
	}
	store.Report(one.sink())
	other.Delays()

	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			one.Delayed(time.Millisecond)     // the bucket's bound
			one.Delayed(time.Millisecond + 1) // the next one
			one.Delayed(time.Hour)
			store.End(context.Background(), store.Begin(), Load, "")
			one.Delays()
		})
	}
	group.Wait()
	found := map[string][]int64{}
	for _, d := range one.Delays() {
		found[d.Metric+d.Series] = d.Counts
	}
	delays := found[invalidationDelay]
	at := 0
	for n, bound := range histograms[invalidationDelay].bounds {
		if bound == time.Millisecond {
			at = n
		}
	}
	if len(delays) == 0 || delays[at] != 4 || delays[at+1] != 4 || delays[len(delays)-1] != 4 {
		t.Errorf("the delays are %v", delays)
	}
	if loads := found[storeDuration+Load.String()]; len(loads) == 0 {
		t.Errorf("the store's operations are missing: %v", found)
	}
	if all := other.Delays(); all != nil {
		t.Errorf("another chain's are %v", all)
	}
}
