package local_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// unchanged closes as a request does that changed nothing.
func unchanged(t *testing.T, l *local.Storage, base *tiers.Snapshot) error {
	t.Helper()
	delta, err := tiers.Diff(base, base.Map())
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Commit(ctx, "a", delta, ttl)
	return err
}

// A handler that sets the same value each time slides as rarely as one that only reads.
func TestUnchangedClosesAreRareSlides(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		from.tell().Vouched(time.Now().Add(10 * ttl))
		for range 1000 { // a request each six seconds, for more than one and a half ttl
			time.Sleep(6 * time.Second)
			before := s.Expires("a")
			if err := unchanged(t, l, load(t, l, "a").Snapshot); err != nil {
				t.Fatal(err)
			}
			if !s.Expires("a").Equal(before) {
				from.tell().Changed("a")
			}
			if left := time.Until(s.Expires("a")); left < ttl || left > ttl+ttl/10 {
				t.Fatalf("the session has %v left after a request, its ttl is %v", left, ttl)
			}
			synctest.Wait()
		}
		if _, commits, slides := s.Count(); commits != 0 || slides > 1000*6*10/3600+2 {
			t.Errorf("%d commits and %d slides of 1000 unchanged closes, want no commit and a slide each tenth of an hour", commits, slides)
		}
	})
}

func TestAnUnchangedCloseOfASessionThatIsGoneIsRefused(t *testing.T) {
	for name, s := range map[string]*teststore.Store{"the store tells": teststore.New(), "it doesn't": {}} {
		if name == "it doesn't" {
			s = teststore.New()
			s.Silent = true
		}
		bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
			s.Put("a", map[string]any{"k": 1}, ttl)
			base := load(t, l, "a").Snapshot
			settle()
			time.Sleep(time.Second / 2) // and a slide is due
			s.Drop("a")
			if err := unchanged(t, l, base); !errors.Is(err, tiers.ErrRevoked) {
				t.Errorf("%s: %v, want ErrRevoked", name, err)
			}
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
		})
	}
}

// thinning is a store behind a layer that skips slides, and says what the store was told.
type thinning struct {
	*teststore.Store
	slid time.Time
}

func (*thinning) SkipsSlide(string, time.Duration) (time.Time, bool) { return time.Time{}, false }
func (s *thinning) Slid(string) time.Time                            { return s.slid }
func (s *thinning) Commit(context.Context, string, *tiers.Delta, time.Duration) (*tiers.Snapshot, error) {
	return nil, nil
}

// What an unchanged close has set is known only where the layer below tells it: where it has
// skipped the slide, the entry must not outlive its key, nor be taken for what was written.
func TestAnUnchangedCloseExtendsToWhatWasTold(t *testing.T) {
	for name, slides := range map[string]bool{"it slid": true, "it skipped that": false} {
		t.Run(name, func(t *testing.T) {
			s, from := &thinning{Store: teststore.New()}, &source{}
			synctest.Test(t, func(t *testing.T) {
				l := local.New(s, local.Invalidation(from))
				defer l.Close(ctx)
				from.confirm(10 * ttl)
				s.Put("a", map[string]any{"k": 1}, ttl)
				s.slid = s.Expires("a")
				base := load(t, l, "a").Snapshot
				synctest.Wait()
				time.Sleep(ttl / 2)
				if slides {
					s.Put("a", map[string]any{"k": 1}, ttl)
					s.slid = s.Expires("a")
				}
				if err := unchanged(t, l, base); err != nil {
					t.Fatal(err)
				}
				if slides {
					from.tell().Changed("a")
					synctest.Wait()
					time.Sleep(ttl * 3 / 4)
					want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
					return
				}
				time.Sleep(ttl/2 - 1)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
				time.Sleep(time.Nanosecond)
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)

				s.Put("a", map[string]any{"k": 2}, ttl)
				s.slid = s.Expires("a")
				from.tell().Changed("a")
				base = load(t, l, "a").Snapshot
				if err := unchanged(t, l, base); err != nil {
					t.Fatal(err)
				}
				s.Put("a", map[string]any{"k": 3}, ttl)
				from.tell().Changed("a")
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
			})
		})
	}
}
