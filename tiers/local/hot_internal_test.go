package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// displace keeps other entries of the hash's set until its own isn't hot.
func displace(s *Storage, hash uint64) {
	for other := hash; s.memory.hot.find(hash) != nil; {
		other += uint64(len(s.memory.hot.sets))
		e := entryOf(other, "another's")
		e.stamp = s.memory.guard.Stamp(other)
		s.memory.keep(other, e)
		s.memory.cache.Wait()
	}
}

func entryOf(hash uint64, value string) *entry {
	return &entry{hash: hash, id: "a", snapshot: tiers.Adopt(map[string]any{"k": value})}
}

// Hot entries are bounded in bytes, whatever their size.
func TestHotEntriesAreBoundedInBytes(t *testing.T) {
	var w hot
	w.init(1 << 20)
	rests := map[uint64]bool{}
	for hash := range uint64(4096) {
		w.put(entryOf(hash, strings.Repeat("x", int(hash%5)*3000)), func(loser *entry) { rests[loser.hash] = true })
		if hash%64 == 0 {
			for earlier := range hash + 1 {
				if (w.find(earlier) != nil) == rests[earlier] {
					t.Fatalf("%d: packed %v, and hot %v", earlier, rests[earlier], w.find(earlier) != nil)
				}
			}
		}
		held := int64(0)
		w.each(func(e *entry) { held += e.cost() })
		if held > 1<<20/hotPart || held != w.held.Load() {
			t.Fatalf("%d bytes held, %d counted, want both at most %d", held, w.held.Load(), 1<<20/hotPart)
		}
	}
	for hash := range uint64(4096) {
		w.drop(hash)
	}
	if w.held.Load() != 0 {
		t.Errorf("%d bytes are held though nothing is", w.held.Load())
	}
}

// Until its new state is packed, a session that has grown too large is found as it was: what
// ristretto has may be older.
func TestASessionThatGrowsIsFoundUntilItIsPacked(t *testing.T) {
	var w hot
	w.init(1 << 10)
	before, grown := entryOf(1, "v"), entryOf(1, strings.Repeat("x", 1<<10))
	w.most.Store(before.cost())
	w.put(before, func(*entry) { t.Fatal("there is room") })
	rested := false
	w.put(grown, func(loser *entry) {
		if rested = true; loser != grown || w.find(1) != before {
			t.Error("it isn't found as it was")
		}
	})
	if !rested || w.find(1) != nil {
		t.Error("it isn't packed alone")
	}
}

// A hot entry costs ristretto nothing before it loses its place, and is counted all the same.
func TestHotEntriesAreNotInRistretto(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.memory.guard.Hash("a")
	keep := func(hash uint64) *entry {
		e := entryOf(hash, "v")
		e.stamp = s.memory.guard.Stamp(hash)
		s.memory.keep(hash, e)
		s.memory.cache.Wait()
		return e
	}
	want := func(what string, rested int64, sessions, used float64) {
		t.Helper()
		gauges := map[telemetry.Gauge]float64{}
		s.Gauges(func(g telemetry.Gauge, value float64) { gauges[g] = value })
		if got := s.memory.sessions.Load(); got != rested || gauges[telemetry.Sessions] != sessions || gauges[telemetry.MemoryUsage] != used {
			t.Errorf("%s: ristretto has %d, %v take %v bytes; want %d, %v and %v", what, got, gauges[telemetry.Sessions], gauges[telemetry.MemoryUsage],
				rested, sessions, used)
		}
	}
	keep(hash)
	size := float64(keep(hash).cost())
	want("kept twice", 0, 1, size)

	for n := range uint64(ways - 1) {
		keep(hash + (n+1)*uint64(len(s.memory.hot.sets)))
	}
	want("the set is full", 0, ways, ways*size)
	keep(hash + ways*uint64(len(s.memory.hot.sets)))
	packed := float64(entryBytes + len(s.memory.pack(entryOf(hash, "v")).content))
	want("one has lost its place", 1, ways+1, ways*size+packed)

	displace(s, hash)
	before := s.memory.sessions.Load()
	s.memory.lookup(hash)
	s.memory.cache.Wait()
	if s.memory.hot.find(hash) == nil || s.memory.sessions.Load() > before+1 {
		t.Error("what was found packed isn't hot, or more than the one is packed whose place it took")
	}
}

// A session counts once also if it is hot before ristretto has taken what it was given of it.
func TestASessionThatRistrettoHasYetToTakeCountsOnce(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	const sessions = 64
	// The more there are, the surer it is that ristretto is behind; it may be with none.
	for n := range uint64(sessions) {
		large := entryOf(n, strings.Repeat("x", mostSmall))
		large.stamp = s.memory.guard.Stamp(n)
		s.memory.keep(n, large)
		small := entryOf(n, "v")
		small.stamp = s.memory.guard.Stamp(n)
		s.memory.keep(n, small)
	}
	s.memory.cache.Wait()
	counted := float64(0)
	s.Gauges(func(g telemetry.Gauge, value float64) {
		if g == telemetry.Sessions {
			counted = value
		}
	})
	if counted != sessions {
		t.Errorf("%v sessions are counted, want %d", counted, sessions)
	}
}

// A hot session counts also when ristretto has evicted its packed copy.
func TestAHotSessionThatRistrettoEvictedCounts(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.memory.guard.Hash("a")
	s.memory.keep(hash, entryOf(hash, "v"))
	displace(s, hash)
	s.memory.lookup(hash)
	s.memory.cache.Wait()
	before := s.memory.count()
	s.memory.cache.Del(hash)
	s.memory.cache.Wait()
	if after := s.memory.count(); after != before {
		t.Errorf("%d sessions are counted, and %d before", after, before)
	}
}

// A hot entry is the one that was kept, however long its id is, and begins with a line of the
// processor's cache.
func TestACompactEntryIsTheSame(t *testing.T) {
	if size := unsafe.Sizeof(piece{}); size != pieceBytes || len(piece{}.id) < 32 {
		t.Errorf("a piece takes %d bytes with room for ids of %d, want %d and GoFrame's of 32", size, len(piece{}.id), pieceBytes)
	}
	for length := range 2 * len(piece{}.id) {
		e := entryOf(1, "v")
		e.id, e.until, e.stamp = strings.Repeat("i", length), 2, 3
		c := e.compact()
		if c.id != e.id || c.hash != e.hash || c.until != e.until || c.stamp != e.stamp || !c.snapshot.Same(e.snapshot) {
			t.Errorf("with an id of %d bytes it is %+v", length, c)
		}
	}
}

// A reader that found a packed entry doesn't put it over what was kept meanwhile.
func TestPromotingReplacesNothingNewer(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.memory.guard.Hash("a")
	keep := func(value string, loaded int64) {
		e := entryOf(hash, value)
		e.stamp, e.loaded = s.memory.guard.Stamp(hash), loaded
		s.memory.keep(hash, e)
		s.memory.cache.Wait()
	}
	keep("old", 0)
	displace(s, hash)
	p := s.memory.taken(hash)
	if p.entry != nil {
		t.Fatal("an entry that has lost its place isn't packed")
	}

	keep("new", 1)
	s.memory.promote(hash, p)
	if e := s.memory.hot.find(hash); e == nil || e.snapshot.Get("k") != "new" {
		t.Error("the older entry took the place of the newer one among the hot ones")
	}
	displace(s, hash)
	s.memory.promote(hash, p)
	if e := s.memory.hot.find(hash); e != nil {
		t.Error("an entry is hot that ristretto has no more")
	}
	if e := s.memory.lookup(hash); e.snapshot.Get("k") != "new" {
		t.Error("the older entry is found")
	}
	if s.memory.hot.find(hash) == nil {
		t.Error("what was found packed isn't hot afterwards")
	}
}

// Changes of an entry since it was packed are packed when it is demoted.
func TestAPromotedEntryThatChangedIsDemotedWithItsChanges(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.memory.guard.Hash("a")
	s.memory.keep(hash, entryOf(hash, "v"))
	displace(s, hash)
	later := time.Now().Add(time.Hour)
	longer := *s.memory.lookup(hash) // as a slide does
	longer.snapshot = longer.snapshot.Expiring(later)
	s.memory.keep(hash, &longer)
	displace(s, hash)
	if p := s.memory.taken(hash); p == nil || p.entry != nil {
		t.Error("it isn't packed")
	}
	if at, _ := s.memory.lookup(hash).snapshot.Expires(); !at.Equal(later) {
		t.Errorf("it expires at %v, want %v", at, later)
	}
}

// An entry that ristretto has evicted while it was hot is packed again when it loses its place.
func TestAnEntryThatRistrettoEvictedIsPackedAgain(t *testing.T) {
	s := New(teststore.New(), Exclusive())
	defer s.Close(context.Background())
	hash := s.memory.guard.Hash("a")
	s.memory.keep(hash, entryOf(hash, "v"))
	displace(s, hash)
	s.memory.lookup(hash)
	s.memory.cache.Del(hash)
	s.memory.cache.Wait()
	displace(s, hash)
	if e := s.memory.lookup(hash); e == nil || e.snapshot.Get("k") != "v" {
		t.Error("the session is lost")
	}
}

// The first reader of an entry since the last search for a place learns that it is the first.
func TestTheFirstReaderOfAHotEntryIsKnown(t *testing.T) {
	var w hot
	w.init(1 << 20)
	want := func(first bool) {
		t.Helper()
		if e, got := w.use(1); e == nil || got != first {
			t.Errorf("found %t, first %t; want %t", e != nil, got, first)
		}
	}
	w.put(entryOf(1, "v"), nil)
	want(true)
	want(false)
	for w.set(1).state.Load()&used(0) != 0 {
		w.set(1).next()
	}
	want(true)
}

// A packed entry may be served for as long as it might have been before.
func TestPackingDoesNotChangeHowLongAnEntryIsServed(t *testing.T) {
	for name, opts := range map[string][]Option{"shared": nil, "exclusive": {Exclusive()}} {
		s := New(teststore.New(), append(opts, MaxStale(time.Minute))...)
		defer s.Close(context.Background())
		for _, watched := range []bool{false, true} {
			for what, snapshot := range map[string]func(*tiers.Snapshot) *tiers.Snapshot{
				"no expiry known": func(s *tiers.Snapshot) *tiers.Snapshot { return s },
				"expires soon":    func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Now().Add(time.Second)) },
				"expires later":   func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Now().Add(time.Hour)) },
				"never expires":   func(s *tiers.Snapshot) *tiers.Snapshot { return s.Expiring(time.Time{}) },
			} {
				s.watch.watched.Store(watched)
				hash := s.memory.guard.Hash(what)
				e := entryOf(hash, "v")
				e.snapshot, e.until = snapshot(e.snapshot), s.memory.now()+int64(2*time.Hour)
				e.stamp = s.memory.guard.Stamp(hash)
				s.memory.bound(e)
				s.memory.keep(hash, e)
				displace(s, hash)
				p := s.memory.taken(hash)
				if p == nil || p.entry != nil {
					t.Fatalf("%s, %s: it isn't packed", name, what)
				}
				if got := s.memory.entry(hash, p); got.until != e.until || got.loaded != e.loaded {
					t.Errorf("%s, watched %t, %s: packed until %d, before until %d", name, watched, what, got.until, e.until)
				}
				if got := s.memory.promote(hash, p); got.until != e.until || s.memory.horizon(e) != e.until {
					t.Errorf("%s, watched %t, %s: unpacked until %d, before until %d", name, watched, what, got.until, e.until)
				}
				s.memory.guard.Bump(hash)
			}
		}
	}
}

// BenchmarkUnpackedHits is the part of the hits that unpack a session, by how many sessions
// are in use beside the places that there are, each as often as the others and in no order;
// and what it is where each session has one place only.
func BenchmarkUnpackedHits(b *testing.B) {
	for percent := 10; percent <= 90; percent += 20 {
		b.Run(fmt.Sprint(percent, "%"), func(b *testing.B) {
			s := New(teststore.New(), Exclusive(), MaxBytes(32<<20))
			defer s.Close(context.Background())
			places := len(s.memory.hot.sets) * ways
			hashes, direct := make([]uint64, places*percent/100), make([]uint64, places)
			for n := range hashes {
				hashes[n] = s.memory.guard.Hash(fmt.Sprint(n))
				e := entryOf(hashes[n], "v")
				e.stamp, e.until = s.memory.guard.Stamp(hashes[n]), never
				s.memory.keep(hashes[n], e)
				if n%1000 == 0 {
					s.memory.cache.Wait()
				}
			}
			s.memory.cache.Wait()
			const rounds = 20
			unpacked, alone := 0, 0
			b.ResetTimer()
			for range b.N {
				unpacked, alone = 0, 0
				for range rounds * len(hashes) {
					hash := hashes[rand.IntN(len(hashes))]
					if s.memory.hot.find(hash) == nil {
						unpacked++
					}
					if place := &direct[hash%uint64(places)]; *place != hash {
						*place = hash
						alone++
					}
					s.memory.lookup(hash)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*float64(unpacked)/float64(rounds*len(hashes)), "%-unpacked")
			b.ReportMetric(100*float64(alone)/float64(rounds*len(hashes)), "%-one-place-each")
		})
	}
}
