package local_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// sourceFunc is a source as a program adapts one from a function.
type sourceFunc func(tiers.InvalidationListener) (stop func())

func (f sourceFunc) Subscribe(l tiers.InvalidationListener) (stop func()) { return f(l) }

// topics is a source that can't be compared either.
type topics struct {
	names []string
	*source
}

// odd is a layer of that kind, which notifies of changes and publishes commits.
type odd struct {
	*teststore.Store
	names     []string
	listeners *[]tiers.InvalidationListener
	caches    *[]tiers.CommitListener
}

func (o odd) Subscribe(l tiers.InvalidationListener) (stop func()) {
	*o.listeners = append(*o.listeners, l)
	return func() {}
}

func (o odd) Follow(c tiers.CommitListener) (stop func()) {
	*o.caches = append(*o.caches, c)
	return func() {}
}

// A source is listened to whatever its type is.
func TestASourceOfAnyTypeIsSubscribedTo(t *testing.T) {
	for name, made := range map[string]func(*source) tiers.InvalidationSource{
		"a function":            func(from *source) tiers.InvalidationSource { return sourceFunc(from.Subscribe) },
		"a struct with a slice": func(from *source) tiers.InvalidationSource { return topics{[]string{"sessions"}, from} },
	} {
		t.Run(name, func(t *testing.T) {
			s, from, other := teststore.New(), &source{}, &source{}
			bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
				from.confirm(ttl)
				other.confirm(ttl)
				s.Put("a", map[string]any{"k": 1}, ttl)
				load(t, l, "a")
				settle()
				time.Sleep(time.Minute) // MaxStale is a second
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
				for _, each := range []*source{from, other} {
					s.Put("a", map[string]any{"k": 2}, ttl)
					each.receiver().Invalidate("a")
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
				}
			}, local.Invalidation(made(from)), local.Invalidation(made(other)))
		})
	}
}

// A layer that can't be compared is subscribed to each time that a chain shows it: what it
// publishes is then read again, and never served as it was before.
func TestALayerThatCannotBeComparedCostsReloads(t *testing.T) {
	var (
		listeners []tiers.InvalidationListener
		caches    []tiers.CommitListener
	)
	below := odd{Store: teststore.New(), names: []string{"sessions"}, listeners: &listeners, caches: &caches}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(below)
		defer l.Close(ctx)
		l.Discover(below)
		if len(listeners) != 2 || len(caches) != 2 {
			t.Fatalf("%d subscriptions to changes and %d to commits, want 2 of each", len(listeners), len(caches))
		}
		for _, l := range listeners {
			l.ValidUntil(time.Now().Add(ttl))
		}
		below.Store.Put("a", map[string]any{"k": 1}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		tokens := []uint64{caches[0].Begin("a"), caches[1].Begin("a")}
		below.Store.Put("a", map[string]any{"k": 2}, ttl)
		for n, c := range caches {
			c.Done("a", ttl, tokens[n], tiers.Adopt(map[string]any{"k": 2}))
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	})
}
