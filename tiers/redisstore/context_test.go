package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// everyCall returns the errors of every call that asks the server.
func everyCall(s *redisstore.Storage, id string) map[string]error { return callAll(ctx, s, id) }

func callAll(ctx context.Context, s *redisstore.Storage, id string) map[string]error {
	errs := map[string]error{}
	base := tiers.Adopt(values{"k": "v"})
	for name, d := range map[string]*tiers.Delta{
		"update": delta(tiers.Diff(base, values{"k": "w"})), "unchanged": delta(tiers.Diff(base, values{"k": "v"})),
		"create": delta(tiers.Add(values{"k": "v"})), "replace": delta(tiers.Replace(values{"k": "v"})),
	} {
		_, errs[name] = s.Commit(ctx, id, d, ttl)
	}
	_, errs["load"] = s.Load(ctx, id, ttl)
	_, errs["get"] = s.GetSession(ctx, id, ttl)
	_, errs["slide"] = s.Slide(ctx, id, ttl)
	errs["set"] = s.SetSession(ctx, id, gmap.NewStrAnyMapFrom(values{"k": "v"}, true), ttl)
	errs["ttl"] = s.UpdateTTL(ctx, id, ttl)
	errs["remove"] = s.RemoveAll(ctx, id)
	return errs
}

func TestCancelledBefore(t *testing.T) {
	f := start(t)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, s := range map[string]*redisstore.Storage{"Open": f.open(), "FromGoFrame": redisstore.FromGoFrame(f.server.GoFrame(t))} {
		f.set(secretID, `{"k":"v"}`)
		for call, err := range callAll(cancelled, s, secretID) {
			private(t, err)
			if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": cancelled by the caller") {
				t.Errorf("%s, %s: %v", name, call, err)
			}
		}
		f.want(secretID, `{"k":"v"}`)
	}
	s, p := f.probed()
	callAll(cancelled, s, secretID)
	if trips := p.seen(); trips != nil {
		t.Errorf("the server was asked %q", trips)
	}
}

// TestCancelledBetween cancels a commit after each of its lost attempts, the late
// ones in its back-off.
func TestCancelledBetween(t *testing.T) {
	f := start(t)
	s, p := f.probed()
	for losses := range 12 {
		f.set("a", `{"k":"v"}`)
		base := f.base(s, "a")
		ctx, cancel := context.WithCancel(ctx)
		p.reset(func(trip int, commands string) {
			f.set("a", `{"trip":`+strings.Repeat("1", trip+1)+`}`)
			if trip == losses {
				cancel()
			}
		})
		_, err := s.Commit(ctx, "a", delta(tiers.Diff(base, values{"k": "w"})), ttl)
		private(t, err)
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := f.raw.Get(ctx, "a").Val(); strings.Contains(got, "w") {
			t.Fatalf("a commit that failed wrote %s", got)
		}
	}
}

// TestServerHangs bounds calls by the context's deadline, and by the time-out of the
// connection where there is none.
func TestServerHangs(t *testing.T) {
	f := start(t)
	// Without a retry, that finds the context at its end, it is the connection that
	// reports the deadline.
	open, err := redisstore.Open(f.server.URL() + "?max_retries=-1")
	f.check(err)
	defer func() { f.check(open.Close(ctx)) }()
	quick, err := redisstore.Open(f.server.URL() + "?read_timeout=50ms&write_timeout=50ms&dial_timeout=50ms&max_retries=-1")
	f.check(err)
	defer func() { f.check(quick.Close(ctx)) }()
	f.set(secretID, `{"k":"v"}`)
	f.load(open, secretID)
	poll.Until(t, "a load is in time", func() bool { // 50 ms may be too short for a busy machine
		_, err := quick.Load(ctx, secretID, ttl)
		return err == nil
	})
	f.server.Pause()
	defer f.server.Resume()

	deadline, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began, calls := time.Now(), time.Duration(0)
	for call, err := range callAll(deadline, open, secretID) {
		calls++
		private(t, err)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), ": timed out") {
			t.Errorf("%s: %v", call, err)
		}
	}
	for call, err := range everyCall(quick, secretID) {
		calls++
		private(t, err)
		if !strings.HasSuffix(err.Error(), ": timed out") {
			t.Errorf("%s: %v", call, err)
		}
	}
	if took := time.Since(began); took > calls*time.Second { // go-redis' own time-outs are of three
		t.Errorf("%d calls took %v", calls, took)
	}
}

// TestServerHangsUnderGoFrame uses a client that has no time-outs of its own.
func TestServerHangsUnderGoFrame(t *testing.T) {
	t.Parallel()
	f := start(t)
	s := redisstore.FromGoFrame(f.server.GoFrame(t))
	f.set(secretID, `{"k":"v"}`)
	f.load(s, secretID)
	f.server.Pause()
	defer f.server.Resume()
	began := time.Now()
	_, err := s.GetSession(ctx, secretID, ttl)
	private(t, err)
	if took := time.Since(began); took < 2*time.Second || took > time.Minute {
		t.Errorf("it took %v", took)
	}
}
