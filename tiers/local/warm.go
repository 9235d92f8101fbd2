package local

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// warm are the small entries that were kept or served last, ready to be copied. Whoever
// loses its place is put to rest in ristretto. What ristretto takes costs the waking of a
// goroutine of its own, comes into force some time later, and is dropped where too much
// comes at once: most of what is kept is outdated, or kept anew, before it needs that.
// Whether an entry may be served is for its stamp to say, as ever.
//
// Their places are in sets of seven, so that few that are in use displace each other before
// most places are taken. Places are atomic, and written under their turn of keeping; what is
// here under a hash is never older than what ristretto has under it, and looked for first.
// held and alone are atomic.
type warm struct {
	sets  []set
	held  atomic.Int64 // bytes that they take
	alone atomic.Int64 // those that ristretto hasn't got
	most  atomic.Int64 // of held
}

// set is seven places, in one line of the processor's cache. state has a byte of each
// entry's hash, so that few entries are looked at, and above these a bit for each place whose
// entry was found since the place was last passed over in the search for one.
type set struct {
	state  atomic.Uint64
	places [ways]atomic.Pointer[entry]
}

const (
	// warmPart is the part of MaxBytes that they may take; ristretto has the rest.
	warmPart = 8

	// mostSmall bounds a snapshot that is among the warm, and at rest in ristretto.
	mostSmall = 16 << 10

	ways                = 7
	leastSets, mostSets = 64, 1 << 13 // powers of two, as turns of keeping are
)

func (w *warm) init(maxBytes int64) {
	w.most.Store(maxBytes / warmPart)
	sets := leastSets
	for sets < mostSets && int64(sets)*ways<<10 <= w.most.Load() {
		sets *= 2
	}
	w.sets = make([]set, sets)
}

func (w *warm) set(hash uint64) *set { return &w.sets[hash%uint64(len(w.sets))] }

// find is the place of a hash in its set, and the entry; nil for none.
func (s *set) find(hash uint64) (place int, e *entry) {
	const ones = 1 << (8 * ways) / 0xff // one in each place
	differs := s.state.Load() ^ hash>>56*ones
	// The lowest of these bits is that of a place whose byte is the hash's, if there is one.
	for alike := (differs - ones) &^ differs & (ones << 7); alike != 0; alike &= alike - 1 {
		place = bits.TrailingZeros64(alike) / 8
		if e = s.places[place].Load(); e != nil && e.hash == hash {
			return place, e
		}
	}
	return ways, nil
}

// find leaves no trace.
func (w *warm) find(hash uint64) *entry {
	_, e := w.set(hash).find(hash)
	return e
}

// use is find for a reader. It reports whether nobody else was one since the entry came, or
// was passed over in the search for a place.
func (w *warm) use(hash uint64) (e *entry, first bool) {
	s := w.set(hash)
	place, e := s.find(hash)
	if first = e != nil && s.state.Load()&used(place) == 0; first {
		s.state.Or(used(place))
	}
	return e, first
}

// used is the bit of a place.
func used(place int) uint64 { return 1 << (8*ways + place) }

// put is called under the hash's turn, as drop is. Who finds no place any more is to rest:
// another entry of the set, and others where too much is held then, and at last this one.
func (w *warm) put(e *entry, rest func(loser *entry)) {
	s := w.set(e.hash)
	place, before := s.find(e.hash)
	if before == nil {
		place = s.free()
	}
	held := w.count(e, 1)
	if before = s.places[place].Load(); before != nil {
		held = w.count(before, -1)
	}
	for others := 0; held > w.most.Load() && others < ways; others++ {
		victim := s.next()
		if loser := s.places[victim].Load(); loser != nil && victim != place {
			rest(loser)
			s.places[victim].Store(nil)
			held = w.count(loser, -1)
		}
	}
	if before != nil && before.hash != e.hash {
		rest(before)
	}
	if held > w.most.Load() {
		w.count(e, -1)
		rest(e)
		s.places[place].Store(nil)
		return
	}
	s.places[place].Store(e)
	for shift := 8 * place; ; {
		state := s.state.Load()
		if s.state.CompareAndSwap(state, state&^(0xff<<shift)|e.hash>>56<<shift) {
			return
		}
	}
}

// free is a place that nobody has, or the one that is given up.
func (s *set) free() (place int) {
	for place = range ways {
		if s.places[place].Load() == nil {
			return place
		}
	}
	return s.next()
}

// next is a place whose entry wasn't found since it was last passed over. Where the search
// begins is left to chance, or else a set that is a little too small for those in use would
// keep none of them.
func (s *set) next() (place int) {
	for from := rand.IntN(ways); ; from++ {
		if place = from % ways; s.state.And(^used(place))&used(place) == 0 {
			return place
		}
	}
}

func (w *warm) drop(hash uint64) {
	s := w.set(hash)
	if place, before := s.find(hash); before != nil {
		w.count(before, -1)
		s.places[place].Store(nil)
	}
}

// count counts entries that come, or go, and returns what is held.
func (w *warm) count(e *entry, entries int64) (held int64) {
	if e.alone {
		w.alone.Add(entries)
	}
	return w.held.Add(entries * e.cost())
}

// parcel is an entry as ristretto has it: awake, or at rest, with its id and snapshot in
// one text, in a third of the memory and with hardly a pointer for the collector to
// follow. It doesn't change.
type parcel struct {
	awake *entry

	content string // the id, the moment of Snapshot.Read if there is one, what Pack makes
	stamp   uint64
	loaded  int64
	ends    int64 // on the tier's clock: the snapshot's expiry if it is known, or else until
	echo    *echo
	id      uint32 // bytes of content
	known   bool   // when it expires
	read    bool   // content tells
	watched bool
}

// parcelBytes is what a parcel takes beside its content or snapshot, here and in
// ristretto's two maps.
const parcelBytes = 224

// entry is a parcel's, without a snapshot if it is at rest.
func (s *Storage) entry(hash uint64, p *parcel) *entry {
	if p.awake != nil {
		return p.awake
	}
	until := p.ends
	if p.known && !s.options.exclusive && !p.watched { // see horizon
		until = min(until, later(p.loaded, s.limits.Load().maxStale))
	}
	return &entry{hash: hash, id: p.content[:p.id], stamp: p.stamp, until: until, loaded: p.loaded,
		echo: p.echo, watched: p.watched, rested: true}
}

// rest gives ristretto an entry that has lost its place among the warm, packed if it can
// be, unless it has it so already or the entry mayn't be served any more. It is called under
// the hash's turn and inside the gate.
func (s *Storage) rest(e *entry) {
	if e.rested && s.taken(e.hash) != nil || e.stamp != s.guard.Stamp(e.hash) {
		return
	}
	if p := s.pack(e); p != nil {
		s.set(e.hash, p, parcelBytes+int64(len(p.content)))
	} else {
		awake := *e
		awake.alone = false
		s.set(e.hash, &parcel{awake: &awake}, e.cost())
	}
}

// pack is nil for what can't be packed: Go values that JSON doesn't decode to.
func (s *Storage) pack(e *entry) *parcel {
	at, known := e.snapshot.Expires()
	began := e.snapshot.Read()
	p := &parcel{stamp: e.stamp, loaded: e.loaded, ends: e.until, echo: e.echo,
		id: uint32(len(e.id)), known: known, read: !began.IsZero(), watched: e.watched}
	switch {
	case known && at.IsZero():
		p.ends = never
	case known:
		p.ends = s.moment(at)
	}
	var room [1 << 10]byte
	b := append(room[:0], e.id...)
	if p.read {
		b = binary.NativeEndian.AppendUint64(b, uint64(s.moment(began)))
	}
	b, ok := e.snapshot.Pack(b)
	if !ok {
		return nil
	}
	p.content = string(b)
	return p
}

// wake makes the entry of a parcel at rest again, and leaves it among the warm.
func (s *Storage) wake(hash uint64, p *parcel) *entry {
	e, packed := s.entry(hash, p), p.content[p.id:]
	began := time.Time{}
	if p.read {
		began = s.start.Add(time.Duration(binary.NativeEndian.Uint64([]byte(packed[:8]))))
		packed = packed[8:]
	}
	e.snapshot = tiers.Unpack(packed)
	if p.known {
		at := time.Time{}
		if p.ends != never {
			at = s.start.Add(time.Duration(p.ends))
		}
		e.snapshot = e.snapshot.Expiring(at)
	}
	if p.read {
		e.snapshot = e.snapshot.ReadAt(began)
	}
	if turn := s.keeping.turn(hash); turn.TryLock() { // a reader waits for nobody
		if s.taken(hash) == p && s.warm.find(hash) == nil {
			s.gate.do(hash, func() { s.warm.put(e.compact(), s.rest) })
		}
		turn.Unlock()
	}
	return e
}
