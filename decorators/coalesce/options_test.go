package coalesce_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
)

func writeTimeout(d time.Duration) coalesce.Option {
	return func(o *coalesce.Options) { o.WriteTimeout = d }
}

func writeBehind(interval time.Duration) coalesce.Option {
	return func(o *coalesce.Options) { o.WriteBehind = interval }
}

func maxPending(n int) coalesce.Option { return func(o *coalesce.Options) { o.MaxPending = n } }

func maxPendingBytes(n int64) coalesce.Option {
	return func(o *coalesce.Options) { o.MaxPendingBytes = n }
}

func onGiveUp(report func(coalesce.GiveUp)) coalesce.Option {
	return func(o *coalesce.Options) { o.OnGiveUp = report }
}

func inJournal(dir string) coalesce.Option { return func(o *coalesce.Options) { o.Journal = dir } }

func slideEvery(fraction float64) coalesce.Option {
	return func(o *coalesce.Options) { o.SlideEvery = fraction }
}

// A caller that waits for room gets it if the bound is raised, and later waits are as long as
// they are by then.
func TestBoundsChangeWhileTheLayerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		store := teststore.New()
		s := coalesce.New(store, maxPending(1), writeTimeout(time.Minute))
		away := make(chan struct{})
		store.Refuse(func(string) error { <-away; return nil })
		write := func(id string) chan error {
			done := make(chan error, 1)
			go func() {
				done <- s.SetSession(ctx, id, gmap.NewStrAnyMapFrom(map[string]any{"n": 1}, true), time.Hour)
			}()
			synctest.Wait()
			return done
		}
		one, two := write("a"), write("b")
		if n, _, _ := s.Pending(); n != 1 {
			t.Fatalf("%d are pending, want 1", n)
		}
		s.Change(maxPending(2), writeTimeout(time.Second))
		synctest.Wait()
		if n, _, _ := s.Pending(); n != 2 {
			t.Errorf("%d are pending, want 2", n)
		}
		began := time.Now()
		if err := <-write("c"); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v, want an error after a second", err, time.Since(began))
		}
		close(away)
		if err := <-one; err != nil {
			t.Error(err)
		}
		<-two // waited for a second as well
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
