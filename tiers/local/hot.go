package local

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// hot are the small entries that were kept or served last, ready to be copied. An entry that
// loses its place is demoted: packed, and given to ristretto. Each call of ristretto's Set wakes a
// goroutine of its own, has an effect some time later, and is dropped if too many
// come at once. Most entries are invalidated, or kept anew, before they need that.
//
// Their places are in sets of seven, so that few entries in use displace each other before
// most places are taken. Places are atomic, and written under the stripe's lock. An entry
// here is never older than the one that ristretto has under its hash, and is looked for first.
// held and most are atomic.
type hot struct {
	sets []set
	held atomic.Int64 // bytes that they take
	most atomic.Int64 // of held
}

// set is seven places, in one line of the processor's cache. state has a byte of each entry's hash, so that
// a look-up reads few entries. Above these it has a bit for each place: the entry was found since the last
// search for a place passed over it.
type set struct {
	state  atomic.Uint64
	places [ways]atomic.Pointer[entry]
}

const (
	// A hotPart-th of MaxBytes is for hot entries; ristretto has the rest.
	hotPart = 8

	// mostSmall bounds a snapshot that is hot, or packed in ristretto.
	mostSmall = 16 << 10

	ways                = 7
	leastSets, mostSets = 64, 1 << 13 // powers of two, as there are stripes
)

func (h *hot) init(maxBytes int64) {
	h.most.Store(maxBytes / hotPart)
	sets := leastSets
	for sets < mostSets && int64(sets)*ways<<10 <= h.most.Load() {
		sets *= 2
	}
	h.sets = make([]set, sets)
}

func (h *hot) set(hash uint64) *set { return &h.sets[hash%uint64(len(h.sets))] }

// find returns the place of a hash in its set, and the entry, nil for none.
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

// find returns the entry of a hash, nil for none, without marking its place as used.
func (h *hot) find(hash uint64) *entry {
	_, e := h.set(hash).find(hash)
	return e
}

// use is find for a reader. It reports whether the reader is the first one since the entry came,
// or was passed over in the search for a place.
func (h *hot) use(hash uint64) (e *entry, first bool) {
	s := h.set(hash)
	place, e := s.find(hash)
	if first = e != nil && s.state.Load()&used(place) == 0; first {
		s.state.Or(used(place))
	}
	return e, first
}

// used is the bit that marks a place as used.
func used(place int) uint64 { return 1 << (8*ways + place) }

// put makes an entry hot, under the stripe's lock, as drop is called. It demotes the entry whose place it takes,
// and others of the set, and at last this one, if hot entries hold too much memory.
func (h *hot) put(e *entry, demote func(loser *entry)) {
	s := h.set(e.hash)
	place, before := s.find(e.hash)
	if before == nil {
		place = s.free()
	}
	held := h.count(e, 1)
	if before = s.places[place].Load(); before != nil {
		held = h.count(before, -1)
	}
	for others := 0; held > h.most.Load() && others < ways; others++ {
		victim := s.next()
		if loser := s.places[victim].Load(); loser != nil && victim != place {
			demote(loser)
			s.places[victim].Store(nil)
			held = h.count(loser, -1)
		}
	}
	if before != nil && before.hash != e.hash {
		demote(before)
	}
	if held > h.most.Load() {
		h.count(e, -1)
		demote(e)
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

// free returns an empty place, or the one that is given up.
func (s *set) free() (place int) {
	for place = range ways {
		if s.places[place].Load() == nil {
			return place
		}
	}
	return s.next()
}

// next returns a place whose entry wasn't found since it was last passed over. The search
// begins at a random place, or else a set that is a little too small for the entries in use
// would keep none of them.
func (s *set) next() (place int) {
	for from := rand.IntN(ways); ; from++ {
		if place = from % ways; s.state.And(^used(place))&used(place) == 0 {
			return place
		}
	}
}

func (h *hot) drop(hash uint64) {
	s := h.set(hash)
	if place, before := s.find(hash); before != nil {
		h.count(before, -1)
		s.places[place].Store(nil)
	}
}

// each calls f for all entries.
func (h *hot) each(f func(e *entry)) {
	for n := range h.sets {
		for place := range ways {
			if e := h.sets[n].places[place].Load(); e != nil {
				f(e)
			}
		}
	}
}

// count adds entries that come, or go, and returns the bytes that are held.
func (h *hot) count(e *entry, entries int64) (held int64) {
	return h.held.Add(entries * e.cost())
}
