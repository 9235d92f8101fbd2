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
type sourceFunc func(tiers.Listener) (stop func())

func (f sourceFunc) Watch(l tiers.Listener) (stop func()) { return f(l) }

// topics is a source that can't be compared either.
type topics struct {
	names []string
	*source
}

// odd is a layer of that kind, which announces and tells.
type odd struct {
	*teststore.Store
	*source
	names []string
	began *[]tiers.Cache
}

func (o odd) Announce(c tiers.Cache) (stop func()) {
	*o.began = append(*o.began, c)
	return func() {}
}

// A source is listened to whatever its type is.
func TestASourceOfAnyKindIsHeard(t *testing.T) {
	for name, made := range map[string]func(*source) tiers.Source{
		"a function":            func(from *source) tiers.Source { return sourceFunc(from.Watch) },
		"a struct with a slice": func(from *source) tiers.Source { return topics{[]string{"sessions"}, from} },
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
					each.tell().Changed("a")
					want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
				}
			}, local.Invalidation(made(from)), local.Invalidation(made(other)))
		})
	}
}

// A layer that a chain shows again is heard once, though it can't be compared: the second
// time it would be taken for another Announcer.
func TestALayerThatCannotBeComparedIsHeardOnce(t *testing.T) {
	var caches []tiers.Cache
	below := odd{Store: teststore.New(), source: &source{}, names: []string{"sessions"}, began: &caches}
	synctest.Test(t, func(t *testing.T) {
		l := local.New(below)
		defer l.Close(ctx)
		l.Hear(below)
		l.Hear(below)
		if below.source.listener == nil {
			t.Error("a layer that tells and announces is heard for the one only")
		}
		if len(caches) != 1 {
			t.Errorf("heard %d times, want once", len(caches))
		}
		l.Hear(odd{Store: below.Store, source: &source{}, names: []string{"others"}, began: &caches})
		if len(caches) != 2 {
			t.Errorf("another one of its kind isn't heard")
		}
	})
}
