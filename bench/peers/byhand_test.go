package peers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
)

// The rule is Strata's, so that what goes by the clock costs all alike.
func TestExpiriesAreSlidWhenATenthIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, slides := context.Background(), []time.Duration{}
		s := NewByHand(nil, func(_ context.Context, _ string, _ []byte, _ map[string]any, ttl time.Duration) error {
			if ttl != 11*time.Minute {
				t.Errorf("a write lives for %v, want a tenth more than the ttl", ttl)
			}
			return nil
		}, nil, func(_ context.Context, _ string, ttl time.Duration) error {
			slides = append(slides, ttl)
			return nil
		})
		read := func(want int) {
			t.Helper()
			if err := s.UpdateTTL(ctx, "id", 10*time.Minute); err != nil || len(slides) != want {
				t.Fatalf("%d slides, %v, want %d", len(slides), err, want)
			}
		}
		read(1) // nobody knows when it was set
		read(1)
		time.Sleep(59 * time.Second)
		read(1)
		time.Sleep(time.Second)
		read(2)
		if slides[1] != 11*time.Minute {
			t.Errorf("an expiry is slid to %v", slides[1])
		}
		if err := s.SetSession(ctx, "id", gmap.NewStrAnyMap(true), 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		read(2)
	})
}
