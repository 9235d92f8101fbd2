package layer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// detained is a decorator that calls a func after its next load, before that returns.
type detained struct {
	tiers.Base
	then *atomic.Pointer[func()]
}

func (h detained) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	read, err := h.Base.Load(ctx, id, ttl)
	if then := h.then.Swap(nil); then != nil {
		(*then)()
	}
	return read, err
}

// notified is a listener that notes that everything was invalidated.
type notified struct{ all *atomic.Bool }

func (notified) Invalidate(string)    {}
func (h notified) InvalidateAll()     { h.all.Store(true) }
func (notified) ValidUntil(time.Time) {}
func (notified) Unsupported(error)    {}

// A mark has ended a session that memory still holds, as the index doesn't know it. FLUSHDB comes while it is read: it is
// gone then, or was over before.
func TestASessionThatAMarkHasEndedStaysEndedWhileTheStoreIsEmptied(t *testing.T) {
	ctx := context.Background()
	var then atomic.Pointer[func()]
	f := fleetOf(t, 1, func() []layer.Decorator {
		return []layer.Decorator{
			patientCoalesced(), patientLocal(), layer.Around(func(below tiers.Storage) tiers.Storage { return detained{tiers.Base{Storage: below}, &then} }),
			layer.Indexed(userOf),
		}
	})
	source, ok := layer.As[tiers.InvalidationSource](f.chains[0])
	if !ok {
		t.Fatal("the store notifies of nothing")
	}
	var noticed atomic.Bool
	d := f.device(0, "lost-0123456789")
	d.logIn(t, "alice")
	memory, _ := layer.As[*local.Storage](f.chains[0])
	poll.Until(t, "memory", func() bool {
		if d.user(t) != "alice" {
			t.Fatal("not logged in")
		}
		read, err := memory.Load(ctx, d.id, time.Hour)
		return err == nil && read.Outcome == tiers.OutcomeHit
	})
	if err := f.chains[0].Flush(ctx); err != nil {
		t.Fatal(err)
	}
	keys := f.client.Keys(ctx, f.prefix+"strata:{*}:i:*").Val()
	if err := f.client.Del(ctx, keys...).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.users[0].RevokeAll(ctx, "alice", layer.ReasonEndedByAdmin); n != 0 || err != nil {
		t.Fatalf("%d ended, %v", n, err)
	}
	defer source.Subscribe(notified{&noticed})()
	noticed.Store(false)
	flush := func() {
		if err := f.client.FlushDB(ctx).Err(); err != nil {
			t.Error(err)
		}
		poll.Until(t, "the loss is noticed", noticed.Load)
	}
	then.Store(&flush)
	if d.user(t) != "" {
		t.Error("the session lives again")
	}
	if then.Load() != nil || !noticed.Load() {
		t.Error("nothing was lost")
	}
}
