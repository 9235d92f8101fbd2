package tracking_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// A storage notifies of what other nodes commit, slide and remove, under its own prefix.
func TestStorageIsASource(t *testing.T) {
	f := start(t)
	mine, theirs := redisstore.New(f.server.Client(), redisstore.Prefix("s:"), redisstore.WatchLease(time.Minute)), redisstore.New(f.raw, redisstore.Prefix("s:"))
	var source tiers.InvalidationSource = mine
	l, second := newWitness(), newWitness()
	stop, stopSecond := source.Subscribe(l), source.Subscribe(second)
	defer stopSecond()
	l.standing(t)
	second.standing(t)
	l.mu.Lock()
	if left := time.Until(l.until); left > time.Minute || left < liveness {
		t.Errorf("vouched for %v on, with a lease of a minute", left)
	}
	l.mu.Unlock()

	begin, err := tiers.Replace(values{"k": 1})
	f.check(err)
	_, err = theirs.Commit(ctx, "a", begin, ttl)
	f.check(err)
	l.changes(t, "a")
	l.forget()
	_, err = theirs.Slide(ctx, "a", 2*ttl)
	f.check(err)
	l.changes(t, "a")
	l.forget()
	f.check(theirs.RemoveAll(ctx, "a"))
	l.changes(t, "a")

	stop()
	l.forget()
	f.set("s:b", `{}`)
	second.changes(t, "b")
	if len(l.ids) > 0 {
		t.Error("a listener that has stopped is told more")
	}
	f.check(mine.Close(ctx))
	if !second.until.IsZero() {
		t.Error("a closed storage vouches")
	}
	third := newWitness()
	mine.Subscribe(third)()
	if len(third.log) > 0 {
		t.Error("a closed storage tells")
	}
}

// Nothing runs before the first listener, and nothing after the last.
func TestStorageWatchesWhileThereAreListeners(t *testing.T) {
	f := start(t)
	s := redisstore.New(f.raw)
	f.check(f.raw.Ping(ctx).Err())
	before := goleak.IgnoreCurrent()
	for range 3 {
		a, b := newWitness(), newWitness()
		stopA, stopB := s.Subscribe(a), s.Subscribe(b)
		a.standing(t)
		b.standing(t)
		stopA()
		stopA()
		f.set("x", `{}`)
		b.changes(t, "x")
		stopB()
		nothingRuns(t, before)
	}
	s.Subscribe(newWitness())
	f.check(s.Close(ctx))
	nothingRuns(t, before)
}
