package local_test

import (
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers/local"
)

// A reader that is held up while the channel comes back must not take the new word of the
// source for what it has found before: the session changed while nobody listened.
func TestNothingFromBeforeALossIsServedUnderANewVouch(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		load(t, l, "none")
		for name, c := range map[string]struct {
			lost      bool // when the read begins
			meanwhile func()
			want      bool
		}{
			"nothing happens":                 {false, func() {}, true},
			"it is vouched for on":            {false, func() { from.receiver().ValidUntil(time.Now().Add(ttl)) }, true},
			"the channel comes back":          {true, func() { from.confirm(ttl) }, false},
			"it is lost and comes back":       {false, func() { from.receiver().ValidUntil(time.Time{}); from.confirm(ttl) }, false},
			"the time it had is over":         {false, func() { time.Sleep(ttl); from.receiver().ValidUntil(time.Now().Add(ttl)) }, false},
			"the source says that it is gone": {false, func() { from.receiver().Invalidate("a"); from.receiver().Invalidate("none") }, false},
		} {
			from.confirm(time.Minute)
			s.Put("a", map[string]any{"k": 1}, 2*ttl)
			load(t, l, "a")
			load(t, l, "none")
			if c.lost {
				from.receiver().ValidUntil(time.Time{})
			}
			hit, _, joins := l.Held("a", c.meanwhile)
			if hit != c.want || joins != c.want {
				t.Errorf("%s: a session in memory is served = %v, a load that is under way joined = %v", name, hit, joins)
			}
			from.confirm(time.Minute)
			load(t, l, "none")
			if c.lost {
				from.receiver().ValidUntil(time.Time{})
			}
			if _, none, _ := l.Held("none", c.meanwhile); none != c.want {
				t.Errorf("%s: that there is no session is served = %v", name, none)
			}
		}
	})
}
