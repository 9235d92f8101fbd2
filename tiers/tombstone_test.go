package tiers

import (
	"fmt"
	"sync"
	"testing"
)

func TestTombstonesTellBeforeFromAfter(t *testing.T) {
	var graves tombstones
	before := graves.now()
	if graves.since("a", before) || graves.buried("a") {
		t.Error("a session is removed before any was")
	}
	graves.bury("a")
	after := graves.now()
	graves.bury("b")
	for _, tt := range []struct {
		id    string
		stamp uint64
		want  bool
	}{{"a", before, true}, {"a", after, false}, {"b", after, true}, {"c", before, false}, {"b", graves.now(), false}} {
		if got := graves.since(tt.id, tt.stamp); got != tt.want {
			t.Errorf("since(%q, %d) = %v", tt.id, tt.stamp, got)
		}
	}
	if !graves.buried("a") || graves.buried("c") {
		t.Error("buried takes one session for another")
	}
	graves.bury("a")
	if !graves.since("a", after) {
		t.Error("the second removal isn't told")
	}
}

// A removal that may be forgotten counts as one: a request that began so long ago is
// refused. None that is remembered does.
func TestForgottenRemovalsRefuse(t *testing.T) {
	var graves tombstones
	start := graves.now()
	graves.bury("first")
	stamps := map[string]uint64{}
	for n := range 3*generationSize + 10 {
		name := fmt.Sprint(n)
		stamps[name] = graves.now()
		graves.bury(name)
		if size := len(graves.young) + len(graves.old); size > 2*generationSize {
			t.Fatalf("%d tombstones are kept", size)
		}
	}
	if !graves.since("first", start) {
		t.Error("a removal that was forgotten isn't told")
	}
	if !graves.since("never removed", start) {
		t.Error("a request from before what is remembered isn't refused")
	}
	for name, stamp := range stamps {
		if !graves.since(name, stamp) {
			t.Fatalf("removal %s isn't told", name)
		}
	}
	recent := stamps[fmt.Sprint(2*generationSize+10)]
	if graves.since("never removed", recent) {
		t.Error("a request of the last 32,768 removals is refused though its session wasn't removed")
	}
}

func TestTombstonesTakeConcurrentUse(t *testing.T) {
	var graves tombstones
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for round := range 500 {
				name := fmt.Sprint(n, "-", round)
				stamp := graves.now()
				graves.since(name, stamp)
				graves.bury(name)
				if !graves.since(name, stamp) || !graves.buried(name) {
					t.Error("a removal isn't told")
				}
				if graves.since(name, graves.now()) {
					t.Error("a removal is told to a later request")
				}
			}
		})
	}
	all.Wait()
}
