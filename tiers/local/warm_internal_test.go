package local

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

func entryOf(hash uint64, value string) *entry {
	return &entry{hash: hash, id: "a", ttl: time.Hour, snapshot: tiers.Adopt(map[string]any{"k": value})}
}

// The warm ones are bounded in bytes, whatever their size.
func TestWarmIsBounded(t *testing.T) {
	var w warm
	w.init(1 << 20)
	for hash := range uint64(4096) {
		w.put(entryOf(hash, strings.Repeat("x", int(hash%5)*3000)))
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

// A reader that found an entry at rest doesn't put it over what was kept meanwhile.
func TestWakingReplacesNothingNewer(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.guard.Hash("a")
	stamp := s.guard.Stamp(hash)
	old := entryOf(hash, "old")
	old.stamp = stamp
	s.keep(hash, old)
	s.cache.Wait()
	p := s.taken(hash)

	newer := entryOf(hash, "new")
	newer.stamp, newer.loaded = stamp, 1
	s.keep(hash, newer)
	s.wake(p)
	if e := s.warm.find(hash); e == nil || e.snapshot.Get("k") != "new" {
		t.Error("the older entry took the place of the newer one among the warm")
	}

	s.warm.put(entryOf(hash+uint64(len(s.warm.places)), "another's")) // takes its place
	s.wake(p)
	if e := s.warm.find(hash); e != nil {
		t.Error("an entry is warm that ristretto has no more")
	}
	e, _ := s.lookup(hash)
	if e.snapshot.Get("k") != "new" {
		t.Error("the older entry is found")
	}
	if s.warm.find(hash) == nil {
		t.Error("what was found at rest isn't warm afterwards")
	}
}
