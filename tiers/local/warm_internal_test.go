package local

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

func entryOf(hash uint64, value string) *entry {
	return &entry{hash: hash, id: "a", snapshot: tiers.Adopt(map[string]any{"k": value})}
}

// The warm ones are bounded in bytes, whatever their size.
func TestWarmIsBounded(t *testing.T) {
	var w warm
	w.init(1 << 20)
	rests := map[uint64]bool{}
	for hash := range uint64(4096) {
		w.put(entryOf(hash, strings.Repeat("x", int(hash%5)*3000)), func(loser *entry) { rests[loser.hash] = true })
		if hash%64 == 0 {
			for earlier := range hash + 1 {
				if (w.find(earlier) != nil) == rests[earlier] {
					t.Fatalf("%d: at rest %v, and warm %v", earlier, rests[earlier], w.find(earlier) != nil)
				}
			}
		}
		held := int64(0)
		for n := range w.places {
			if e := w.places[n].Load(); e != nil {
				held += e.snapshot.Size()
			}
		}
		if held > 1<<20/warmPart || held != w.held.Load() {
			t.Fatalf("%d bytes held, %d counted, want both at most %d", held, w.held.Load(), 1<<20/warmPart)
		}
	}
	for hash := range uint64(4096) {
		w.drop(hash)
	}
	if w.held.Load() != 0 {
		t.Errorf("%d bytes are held though nothing is", w.held.Load())
	}
}

// Until its new state is at rest, a session that has grown too large is found as it was: what
// ristretto has may be older.
func TestWhatGrowsLeavesNoGap(t *testing.T) {
	var w warm
	w.init(1 << 10)
	before, grown := entryOf(1, "v"), entryOf(1, strings.Repeat("x", 1<<10))
	w.most = before.snapshot.Size()
	w.put(before, func(*entry) { t.Fatal("there is room") })
	rested := false
	w.put(grown, func(loser *entry) {
		if rested = true; loser != grown || w.find(1) != before {
			t.Error("it isn't found as it was")
		}
	})
	if !rested || w.find(1) != nil {
		t.Error("it isn't at rest alone")
	}
}

// What is warm costs ristretto nothing before it loses its place, and is counted all the same.
func TestWhatIsWarmIsAlone(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.guard.Hash("a")
	keep := func(hash uint64) *entry {
		e := entryOf(hash, "v")
		e.stamp = s.guard.Stamp(hash)
		s.keep(hash, e)
		s.cache.Wait()
		return e
	}
	want := func(what string, rested int64, sessions, used float64) {
		t.Helper()
		gauges := map[telemetry.Gauge]float64{}
		s.Gauges(func(g telemetry.Gauge, value float64) { gauges[g] = value })
		if got := s.sessions.Load(); got != rested || gauges[telemetry.Sessions] != sessions || gauges[telemetry.MemoryUsage] != used {
			t.Errorf("%s: ristretto has %d, %v take %v bytes; want %d, %v and %v", what, got, gauges[telemetry.Sessions], gauges[telemetry.MemoryUsage],
				rested, sessions, used)
		}
	}
	keep(hash)
	size := float64(keep(hash).snapshot.Size())
	want("kept twice", 0, 1, size)

	keep(hash + uint64(len(s.warm.places)))
	packed := float64(parcelBytes + len(s.taken(hash).content))
	want("another has its place", 1, 2, size+packed)

	s.lookup(hash)
	s.cache.Wait()
	want("it has its place again", 2, 2, size+2*packed)
	keep(hash)
	want("kept again", 2, 2, size+2*packed)
}

// A reader that found an entry at rest doesn't put it over what was kept meanwhile.
func TestWakingReplacesNothingNewer(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.guard.Hash("a")
	place := uint64(len(s.warm.places)) // as far apart are two hashes of one place
	keep := func(hash uint64, value string, loaded int64) {
		e := entryOf(hash, value)
		e.stamp, e.loaded = s.guard.Stamp(hash), loaded
		s.keep(hash, e)
		s.cache.Wait()
	}
	keep(hash, "old", 0)
	keep(hash+place, "another's", 0)
	p := s.taken(hash)
	if p.awake != nil {
		t.Fatal("an entry that has lost its place isn't at rest")
	}

	keep(hash, "new", 1)
	s.wake(hash, p)
	if e := s.warm.find(hash); e == nil || e.snapshot.Get("k") != "new" {
		t.Error("the older entry took the place of the newer one among the warm")
	}
	keep(hash+2*place, "another's", 0)
	s.wake(hash, p)
	if e := s.warm.find(hash); e != nil {
		t.Error("an entry is warm that ristretto has no more")
	}
	if e := s.lookup(hash); e.snapshot.Get("k") != "new" {
		t.Error("the older entry is found")
	}
	if s.warm.find(hash) == nil {
		t.Error("what was found at rest isn't warm afterwards")
	}
	s.cache.Wait()
	if p := s.taken(hash + 2*place); p == nil || p.awake != nil {
		t.Error("the entry whose place it took isn't at rest")
	}
}

// What has changed of an entry since it was at rest goes to rest with it.
func TestWhatIsWokenRestsAnew(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.guard.Hash("a")
	others := hash
	displace := func() {
		others += uint64(len(s.warm.places))
		s.keep(others, entryOf(others, "another's"))
		s.cache.Wait()
	}
	s.keep(hash, entryOf(hash, "v"))
	displace()
	later := time.Now().Add(time.Hour)
	longer := *s.lookup(hash) // as a slide does
	longer.snapshot = longer.snapshot.Expiring(later)
	s.keep(hash, &longer)
	displace()
	if p := s.taken(hash); p == nil || p.awake != nil {
		t.Error("it isn't at rest")
	}
	if at, _ := s.lookup(hash).snapshot.Expires(); !at.Equal(later) {
		t.Errorf("it expires at %v, want %v", at, later)
	}
}

// An entry at rest may be served for as long as it might have been awake.
func TestRestChangesNoEnd(t *testing.T) {
	for name, opts := range map[string][]Option{"shared": nil, "exclusive": {Exclusive()}} {
		s := New(teststore.New(), append(opts, MaxStale(time.Minute))...)
		defer s.Close(context.Background())
		place := uint64(len(s.warm.places))
		for _, watched := range []bool{false, true} {
			for what, snapshot := range map[string]func(*tiers.Snapshot) *tiers.Snapshot{
				"no expiry known": func(s *tiers.Snapshot) *tiers.Snapshot { return s },
				"expires soon":    func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Now().Add(time.Second)) },
				"expires later":   func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Now().Add(time.Hour)) },
				"never expires":   func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Time{}) },
			} {
				s.watch.watched.Store(watched)
				hash := s.guard.Hash(what)
				e, other := entryOf(hash, "v"), entryOf(hash+place, "another's")
				e.snapshot, e.kept = snapshot(e.snapshot), s.now()+int64(2*time.Hour)
				e.stamp, other.stamp = s.guard.Stamp(hash), s.guard.Stamp(hash+place)
				s.bound(hash, e)
				s.keep(hash, e)
				s.keep(hash+place, other)
				s.cache.Wait()
				p := s.taken(hash)
				if p == nil || p.awake != nil {
					t.Fatalf("%s, %s: it isn't at rest", name, what)
				}
				if got := s.entry(hash, p); got.until != e.until || got.loaded != e.loaded {
					t.Errorf("%s, watched %t, %s: at rest until %d, awake until %d", name, watched, what, got.until, e.until)
				}
				if got := s.wake(hash, p); got.until != e.until || s.horizon(e) != e.until {
					t.Errorf("%s, watched %t, %s: woken until %d, awake until %d", name, watched, what, got.until, e.until)
				}
				s.guard.Bump(hash)
			}
		}
	}
}
