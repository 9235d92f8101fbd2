package local_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
)

// Options that are changed while the tier runs hold for later reads, and an option that isn't given
// again has its default.
func TestLimitsChangeWhileTheTierRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		store := gsession.NewStorageMemory()
		s := local.New(store, local.MaxStale(0), local.MaxBytes(1<<20))
		write := func(to gsession.Storage, n int) {
			t.Helper()
			if err := to.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(map[string]any{"n": n}, true), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		read := func() any {
			t.Helper()
			m, err := s.GetSession(ctx, "a", time.Hour)
			if err != nil || m == nil {
				t.Fatal(m, err)
			}
			return m.Get("n")
		}
		write(s, 1)
		read()
		write(store, 2) // as another process
		if n := read(); n != 2 {
			t.Fatalf("without MaxStale the read is %v, want 2", n)
		}
		s.Change(local.MaxStale(time.Minute), local.MaxBytes(2<<20))
		read()
		write(store, 3)
		if n := read(); n != 2 {
			t.Errorf("within MaxStale the read is %v, want 2", n)
		}
		time.Sleep(time.Minute + time.Second)
		if n := read(); n != 3 {
			t.Errorf("after MaxStale the read is %v, want 3", n)
		}
		limit := func() (bytes float64) {
			s.Gauges(func(g telemetry.Gauge, value float64) {
				if g == telemetry.MemoryLimit {
					bytes = value
				}
			})
			return bytes
		}
		if limit() != 2<<20 {
			t.Errorf("the bound is %v", limit())
		}
		s.Change()
		if limit() != 64<<20 {
			t.Errorf("the bound is %v without the option", limit())
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
