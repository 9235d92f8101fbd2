package sessionmap

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTombstonesDistinguishBeforeAndAfter(t *testing.T) {
	var graves tombstones
	graves.expect("a")
	graves.expect("b")
	before := graves.now()
	if graves.Since("a", before) {
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
		if got := graves.Since(tt.id, tt.stamp); got != tt.want {
			t.Errorf("since(%q, %d) = %v", tt.id, tt.stamp, got)
		}
	}
	graves.bury("a")
	if !graves.Since("a", after) {
		t.Error("the second removal isn't known")
	}
}

// A removal that is forgotten is left to the store, and no request is refused for it.
func TestForgottenRemovalsRefuseNobody(t *testing.T) {
	var graves tombstones
	start := graves.now()
	stamps := map[string]uint64{}
	for n := range 3*generationSize + 10 {
		name := fmt.Sprint(n)
		graves.expect(name)
		stamps[name] = graves.now()
		graves.bury(name)
		if size := graves.removed.Len(); size > 2*generationSize {
			t.Fatalf("%d tombstones are kept", size)
		}
	}
	graves.expect("never removed")
	if graves.Since("never removed", start) || graves.Since("0", start) {
		t.Error("a removal is known that wasn't made")
	}
	for n := 2*generationSize + 10; n < 3*generationSize+10; n++ {
		if name := fmt.Sprint(n); !graves.Since(name, stamps[name]) {
			t.Fatalf("removal %s isn't known", name)
		}
	}
}

// Log-outs of ids of which nobody holds a map leave nothing, and push nothing out.
func TestMadeUpIDsLeaveNoTombstone(t *testing.T) {
	var graves tombstones
	for n := range 1000 {
		graves.expect(fmt.Sprint("held ", n))
	}
	stamp := graves.now()
	graves.bury("held 0")
	for n := range 70_000 {
		graves.bury(fmt.Sprint("made up ", n))
	}
	if n := graves.removed.Len(); n > 1+70_000*2*1000/expectedSize {
		t.Errorf("%d tombstones of 70,000 log-outs of made-up ids", n)
	}
	if !graves.Since("held 0", stamp) || graves.Since("held 1", stamp) {
		t.Error("a held session's removal isn't known, or another one's is")
	}
}

func TestExpectedIDsAreKeptForHalfAnHourAtLeastAndAnHourAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var graves tombstones
		graves.bury("x") // the clock begins
		graves.expect("a")
		time.Sleep(expectedLife + time.Second)
		stamp := graves.now()
		graves.bury("a")
		graves.expect("b")
		if !graves.Since("a", stamp) {
			t.Error("an id that is held for half an hour is forgotten")
		}
		time.Sleep(expectedLife + time.Second)
		graves.bury("x")
		stamp = graves.now()
		graves.bury("a")
		graves.bury("b")
		if graves.Since("a", stamp) || !graves.Since("b", stamp) {
			t.Error("the older id must be forgotten, and the younger one kept")
		}
	})
}

func TestTombstonesTakeConcurrentUse(t *testing.T) {
	var graves tombstones
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for round := range 500 {
				name := fmt.Sprint(n, "-", round)
				stamp := graves.now()
				graves.expect(name)
				graves.Since(name, stamp)
				graves.bury(name)
				if !graves.Since(name, stamp) {
					t.Error("a removal isn't known")
				}
				if graves.Since(name, graves.now()) {
					t.Error("a later request finds a removal")
				}
			}
		})
	}
	all.Wait()
}
