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
		from.receiver().ValidUntil(time.Now().Add(10 * ttl))
		for range 1000 { // a request each six seconds, for more than one and a half ttl
			time.Sleep(6 * time.Second)
			before := s.Expires("a")
			if err := unchanged(t, l, load(t, l, "a").Snapshot); err != nil {
				t.Fatal(err)
			}
			if !s.Expires("a").Equal(before) {
				from.receiver().Invalidate("a")
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
	for name, s := range map[string]*teststore.Store{"the store says": teststore.New(), "it doesn't": {}} {
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

// thinning is a store behind a layer that skips slides and returns the expiry that was set last.
type thinning struct {
	*teststore.Store
	slid time.Time
}

func (*thinning) SkipsSlide(string, time.Duration) (time.Time, bool) { return time.Time{}, false }
func (s *thinning) Slid(string) time.Time                            { return s.slid }
func (s *thinning) Commit(context.Context, string, *tiers.Delta, time.Duration) (*tiers.Snapshot, error) {
	return nil, nil
}

// The expiry after an unchanged close is known only if the layer below returns it: if that layer has
// skipped the slide, the entry must not outlive its key, and the session doesn't count as written.
func TestAnUnchangedCloseExtendsToWhatTheStoreReturned(t *testing.T) {
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
					from.receiver().Invalidate("a")
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
				from.receiver().Invalidate("a")
				base = load(t, l, "a").Snapshot
				if err := unchanged(t, l, base); err != nil {
					t.Fatal(err)
				}
				s.Put("a", map[string]any{"k": 3}, ttl)
				from.receiver().Invalidate("a")
				want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 3)
			})
		})
	}
}

// A session whose ttl a request shortens isn't served for longer than that, whatever the store returns and
// also if the reply is lost.
func TestAShorterTTLEndsWhatMemoryServes(t *testing.T) {
	const short = 50 * time.Millisecond
	slides := map[string]func(l *local.Storage, base *tiers.Snapshot) error{
		"UpdateTTL": func(l *local.Storage, _ *tiers.Snapshot) error { return l.UpdateTTL(ctx, "a", short) },
		"an unchanged close": func(l *local.Storage, base *tiers.Snapshot) error {
			delta, err := tiers.Diff(base, base.Map())
			if err == nil {
				_, err = l.Commit(ctx, "a", delta, short)
			}
			return err
		},
	}
	for how, slide := range slides {
		for name, opts := range map[string][]local.Option{"shared": {local.MaxStale(time.Hour)}, "exclusive": {local.Exclusive()}} {
			for _, silent := range []bool{false, true} {
				for _, lost := range []bool{false, true} {
					s := &losing{Store: teststore.New()}
					s.Silent = silent
					synctest.Test(t, func(t *testing.T) {
						l := local.New(s, opts...)
						defer l.Close(ctx)
						commit(t, l, "a", map[string]any{"k": 1})
						base := load(t, l, "a").Snapshot
						synctest.Wait()
						s.lost = lost
						if err := slide(l, base); (err != nil) != lost {
							t.Fatal(err)
						}
						loads, _, _ := s.Count()
						time.Sleep(short + short/10)
						load(t, l, "a")
						if now, _, _ := s.Count(); now == loads {
							t.Errorf("%s, %s, silent %t, lost %t: served from memory when its time is over", how, name, silent, lost)
						}
					})
				}
			}
		}
	}
}

// So does what is shortened before the session that this node wrote is first read.
func TestAShorterTTLEndsWhatWasNotReadYet(t *testing.T) {
	s := teststore.New()
	s.Silent = true
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		commit(t, l, "a", map[string]any{"k": 1})
		settle()
		if err := l.UpdateTTL(ctx, "a", time.Minute); err != nil {
			t.Fatal(err)
		}
		settle()
		load(t, l, "a")
		settle()
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Minute + time.Minute/10)
		if read := load(t, l, "a"); read.Outcome == tiers.OutcomeHit {
			t.Error("served from memory when its time is over")
		}
	}, local.Exclusive(), local.MaxStale(0))
}

// losing is a store whose replies to slides get lost.
type losing struct {
	*teststore.Store
	lost bool
}

func (s *losing) Slide(ctx context.Context, id string, life time.Duration) (time.Time, error) {
	at, err := s.Store.Slide(ctx, id, life)
	if s.lost {
		return time.Time{}, errors.New("lost")
	}
	return at, err
}

func (s *losing) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	snapshot, err := s.Store.Commit(ctx, id, delta, life)
	if s.lost {
		return nil, errors.New("lost")
	}
	return snapshot, err
}

// A ttl that is as long as before shortens nothing, also if the store returns no expiry.
func TestAnUnchangedCloseShortensNothing(t *testing.T) {
	s := teststore.New()
	s.Silent = true
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		commit(t, l, "a", map[string]any{"k": 1})
		settle()
		load(t, l, "a")
		settle()
		loads, _, _ := s.Count()
		for range 100 {
			time.Sleep(ttl / 101)
			base := load(t, l, "a").Snapshot
			if err := unchanged(t, l, base); err != nil {
				t.Fatal(err)
			}
		}
		if now, _, _ := s.Count(); now != loads {
			t.Errorf("%d reads asked the store", now-loads)
		}
	}, local.Exclusive())
}

// A session that lost its expiry gets one again from the next request that uses it.
func TestALostExpiryIsSetAgain(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, l *local.Storage, base *tiers.Snapshot) error{
		"an unchanged close": unchanged,
		"UpdateTTL":          func(_ *testing.T, l *local.Storage, _ *tiers.Snapshot) error { return l.UpdateTTL(ctx, "a", ttl) },
	} {
		s := teststore.New()
		synctest.Test(t, func(t *testing.T) {
			l := local.New(s, local.Exclusive())
			defer l.Close(ctx)
			s.Put("a", map[string]any{"k": 1}, ttl)
			s.Persist("a")
			for range 3 {
				if err := use(t, l, load(t, l, "a").Snapshot); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, slides := s.Count(); slides != 1 || !s.Expires("a").Equal(time.Now().Add(ttl+ttl/10)) {
				t.Errorf("%s: the expiry was set %d times, to %v from now", name, slides, time.Until(s.Expires("a")))
			}
			time.Sleep(ttl + ttl/10)
			want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
		})
	}
}

// Nor where a layer below that thins slides has set the expiry.
func TestAShorterTTLOfTheLayerBelowIsKept(t *testing.T) {
	s := &thinning{Store: teststore.New()}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s, local.Exclusive())
		defer l.Close(ctx)
		s.Put("a", map[string]any{"k": 1}, ttl)
		base := load(t, l, "a").Snapshot
		s.Put("a", map[string]any{"k": 1}, ttl/10)
		s.slid = s.Expires("a")
		if err := unchanged(t, l, base); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ttl/10 - 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Nanosecond)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", nil)
	})
}

// That a slide says nothing doesn't mean that the session is gone: the close looks.
func TestASlideWithoutAResultRevokesNothing(t *testing.T) {
	s := teststore.New()
	s.Mute = true
	synctest.Test(t, func(t *testing.T) {
		l := local.New(s)
		defer l.Close(ctx)
		s.Put("a", map[string]any{"k": 1}, ttl)
		for range 2 {
			read, err := l.Load(ctx, "a", ttl)
			if err != nil {
				t.Fatal(err)
			}
			delta, err := tiers.Diff(read.Snapshot, read.Snapshot.Map())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(ttl / 10_000) // a slide is due
			if _, err := l.Commit(ctx, "a", delta, ttl); err != nil {
				t.Errorf("an unchanged close of a session that is there: %v", err)
			}
			s.Drop("a")
			if _, err := l.Commit(ctx, "a", delta, 2*ttl); !errors.Is(err, tiers.ErrRevoked) {
				t.Errorf("of one that is gone: %v", err)
			}
			s.Put("a", map[string]any{"k": 1}, ttl)
		}
	})
}
