package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// The store applies a change and its reply is lost. The next attempt overwrites nothing
// newer and brings nothing back; what it leaves out is reported.
func TestALostAnswerIsNotRepeatedBlindly(t *testing.T) {
	for name, test := range map[string]struct {
		begins    bool
		meanwhile func(s *teststore.Store)
		want      string
		cause     error // of the report, nil for none
	}{
		"nothing happens":             {false, func(*teststore.Store) {}, "map[k:1 seed:0]", nil},
		"another node changes it":     {false, func(s *teststore.Store) { s.Put("a", map[string]any{"seed": 0, "k": 2}, ttl) }, "map[k:2 seed:0]", tiers.ErrConflict},
		"a log-out":                   {false, func(s *teststore.Store) { s.Drop("a") }, "unknown", tiers.ErrRevoked},
		"a log-in begins":             {true, func(*teststore.Store) {}, "map[k:1]", nil},
		"a log-in begins and ends":    {true, func(s *teststore.Store) { s.Drop("a") }, "unknown", tiers.ErrConflict},
		"a log-in, and another one's": {true, func(s *teststore.Store) { s.Put("a", map[string]any{"user": "b"}, ttl) }, "map[user:b]", tiers.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := teststore.New()
			if !test.begins {
				s.Put("a", map[string]any{"seed": 0, "k": 0}, ttl)
			}
			var lost []coalesce.GiveUp
			returns := 0
			s.OnCommit = func(context.Context, string) error {
				if returns++; returns == 1 {
					test.meanwhile(s)
					return errors.New("the reply is lost")
				}
				return nil
			}
			bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
				d, err := tiers.Add(map[string]any{"k": 1})
				if !test.begins {
					d = change(t, get(t, c, "a"), "k", 1)
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Commit(ctx, "a", d, ttl); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				read, err := s.Load(ctx, "a", ttl)
				if got := text(read.Snapshot); err != nil || got != test.want {
					t.Errorf("the store holds %s, %v, want %s", got, err, test.want)
				}
				if test.cause == nil && len(lost) > 0 || test.cause != nil && (len(lost) != 1 || lost[0].Changes != 1 || !errors.Is(lost[0].Cause, test.cause)) {
					t.Errorf("reported %+v, want %v", lost, test.cause)
				}
				if changes, _, _ := c.Pending(); changes != 0 {
					t.Errorf("%d changes are pending", changes)
				}
			}, writeBehind(time.Second), onGiveUp(func(g coalesce.GiveUp) { lost = append(lost, g) }))
		})
	}
}

// A refusal that a layer below has wrapped is one: the change isn't tried again.
func TestAWrappedRefusalIsOne(t *testing.T) {
	s := teststore.New()
	s.Put("a", map[string]any{"k": 0}, ttl)
	var lost []coalesce.GiveUp
	bubble(t, s, func(t *testing.T, c *coalesce.Storage) {
		put(t, c, "a", "k", 1)
		attempts := 0
		s.Refuse(func(string) error { attempts++; return fmt.Errorf("below: %w", tiers.ErrRevoked) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if attempts != 1 || len(lost) != 1 {
			t.Errorf("%d attempts, and reported %+v, want one of each", attempts, lost)
		}
	}, writeBehind(time.Second), onGiveUp(func(g coalesce.GiveUp) { lost = append(lost, g) }))
}
