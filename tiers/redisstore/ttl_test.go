package redisstore_test

import (
	"math"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// writes are all ways to set a session's time to live.
func writes(f *fixture, s *redisstore.Storage) map[string]func(time.Duration) error {
	return map[string]func(time.Duration) error{
		"update": func(ttl time.Duration) error {
			f.set("a", `{"k":"v"}`)
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(f.base(s, "a"), values{"k": "w"})), ttl)
			return err
		},
		"unchanged": func(ttl time.Duration) error {
			f.set("a", `{"k":"v"}`)
			base := f.base(s, "a")
			_, err := s.Commit(ctx, "a", delta(tiers.Diff(base, base.Map())), ttl)
			return err
		},
		"create": func(ttl time.Duration) error {
			f.check(f.raw.Del(ctx, "a").Err())
			_, err := s.Commit(ctx, "a", delta(tiers.Add(values{"k": "v"})), ttl)
			return err
		},
		"replace": func(ttl time.Duration) error {
			f.set("a", `{"k":"v"}`)
			return s.SetSession(ctx, "a", gmap.NewStrAnyMapFrom(values{"k": "w"}, true), ttl)
		},
		"slide": func(ttl time.Duration) error {
			f.set("a", `{"k":"v"}`)
			return s.UpdateTTL(ctx, "a", ttl)
		},
	}
}

func TestTimeToLive(t *testing.T) {
	f := start(t)
	s := f.open()
	for name, write := range writes(f, s) {
		for _, refused := range []time.Duration{0, -1, -time.Hour, math.MinInt64} {
			err := write(refused)
			private(t, err)
			if want := "strata: redis: a session needs a time to live; pass a positive ttl"; err.Error() != want {
				t.Errorf("%s %d: %v", name, refused, err)
			}
			if name != "create" {
				f.want("a", `{"k":"v"}`)
			}
		}
		for _, c := range []struct{ ttl, kept time.Duration }{
			{900 * time.Millisecond, 900 * time.Millisecond},
			{1500*time.Millisecond + 1, 1501 * time.Millisecond},
			{time.Minute, time.Minute},
			{100 * 365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour},
			{math.MaxInt64 - time.Hour, math.MaxInt64 - time.Hour},
		} {
			before, at := time.Now(), int64(0)
			poll.Until(f, "the session is there", func() bool {
				before = time.Now()
				f.check(write(c.ttl))
				at = f.raw.Do(ctx, "pexpiretime", "a").Val().(int64)
				return at > 0 || time.Since(before) < c.kept // else it has expired before anybody could look
			})
			ends := time.UnixMilli(at)
			// Redis' clock shows whole milliseconds, from the start of its loop's turn.
			if early, late := before.Add(c.kept-50*time.Millisecond), time.Now().Add(c.kept+10*time.Millisecond); ends.Before(early) || ends.After(late) {
				t.Errorf("%s %v: the session ends %v from then", name, c.ttl, ends.Sub(before))
			}
		}
		f.check(write(math.MaxInt64))
		f.check(write(1)) // a nanosecond
		poll.Until(f, "the session expires", func() bool { return f.raw.Exists(ctx, "a").Val() == 0 })
	}
}

// TestShortSessionLivesItsTime reads a session of 900 ms until it is gone.
func TestShortSessionLivesItsTime(t *testing.T) {
	f := start(t)
	s := f.open()
	before := time.Now()
	_, err := s.Commit(ctx, "a", delta(tiers.Add(values{"k": "v"})), 900*time.Millisecond)
	f.check(err)
	poll.Until(t, "the session expires", func() bool {
		read, err := s.Load(ctx, "a", ttl)
		f.check(err)
		return read.Snapshot == nil
	})
	if lived := time.Since(before); lived < 900*time.Millisecond {
		t.Fatalf("it lived for %v", lived)
	}
}

// TestExpiryIsKnown holds what snapshots say against the server.
func TestExpiryIsKnown(t *testing.T) {
	f := start(t)
	s := f.open()
	for _, ttl := range []time.Duration{20*time.Second + 900*time.Millisecond, time.Minute, 100 * 365 * 24 * time.Hour} {
		committed, err := s.Commit(ctx, "a", delta(tiers.Replace(values{"k": "v"})), ttl)
		f.check(err)
		f.expires(committed)
		f.expires(f.base(s, "a"))
		committed, err = s.Commit(ctx, "a", delta(tiers.Diff(f.base(s, "a"), values{"k": "w"})), ttl)
		f.check(err)
		f.expires(committed)
		until, err := s.Slide(ctx, "a", ttl/2)
		f.check(err)
		f.expires(committed.Expiring(until))
	}
	until, err := s.Slide(ctx, "none", ttl)
	if err != nil || !until.IsZero() {
		t.Fatalf("sliding no session returned %v, %v", until, err)
	}

	// One that another program keeps for ever, until a commit gives it an end.
	f.check(f.raw.Persist(ctx, "a").Err())
	base := f.base(s, "a")
	if at, known := base.Expires(); !known || !at.IsZero() {
		t.Fatalf("a session without an end expires %v, %v", at, known)
	}
	committed, err := s.Commit(ctx, "a", delta(tiers.Diff(base, values{"x": 1})), ttl)
	f.check(err)
	f.expires(committed)

	// Redis takes a time that no time.Duration holds.
	f.check(f.raw.Do(ctx, "pexpire", "a", int64(1e17)).Err())
	if at, known := f.base(s, "a").Expires(); !known || time.Until(at) < 200*365*24*time.Hour {
		t.Fatalf("a session of 3 million years expires %v, %v", at, known)
	}
}

// expires fails where a snapshot of "a" may outlive it, or ends long before it.
func (f *fixture) expires(s *tiers.Snapshot) {
	f.Helper()
	at, known := s.Expires()
	// The key is there until the millisecond after this one begins.
	ends := time.UnixMilli(f.raw.Do(ctx, "pexpiretime", "a").Val().(int64) + 1)
	if !known || at.After(ends) || at.Before(ends.Add(-5*time.Second)) {
		f.Fatalf("the snapshot ends %v (%v), the key %v", at, known, ends)
	}
}
