package local

import (
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// warm are the entries that were kept or served last, ready to be copied. Whoever loses
// its place is put to rest in ristretto. That also takes a new key some time after Set, and not at all where too many
// come at once, so that a session which was just read, or has just begun, is found here.
// Whether it may be served is for its stamp to say, as ever.
//
// The places are atomic, and written under their turn of keeping; what is here under a
// hash is never older than what ristretto has under it. held is atomic.
type warm struct {
	places []atomic.Pointer[entry]
	held   atomic.Int64 // bytes of their snapshots
	most   int64        // of held
}

const (
	// warmPart is the part of MaxBytes that they may take on top of it.
	warmPart = 8

	// mostSmall bounds a snapshot that is among the warm, and at rest in ristretto.
	mostSmall = 16 << 10

	leastPlaces, mostPlaces = 256, 1 << 16 // powers of two, as turns of keeping are
)

func (w *warm) init(maxBytes int64) {
	w.most = maxBytes / warmPart
	places := leastPlaces
	for places < mostPlaces && int64(places)<<11 <= w.most {
		places *= 2
	}
	w.places = make([]atomic.Pointer[entry], places)
}

func (w *warm) place(hash uint64) *atomic.Pointer[entry] {
	return &w.places[hash%uint64(len(w.places))]
}

func (w *warm) find(hash uint64) *entry {
	if e := w.place(hash).Load(); e != nil && e.hash == hash {
		return e
	}
	return nil
}

// put is called under the hash's turn, as drop is. It answers the entry that finds no
// place any more: another one, or where too much is held already this one, or nil.
func (w *warm) put(e *entry) (loser *entry) {
	place, size := w.place(e.hash), e.snapshot.Size()
	if before := place.Load(); before != nil {
		w.held.Add(-before.snapshot.Size())
		if before.hash != e.hash {
			loser = before
		}
	}
	if w.held.Add(size) > w.most {
		w.held.Add(-size)
		place.Store(nil)
		return e
	}
	place.Store(e)
	return loser
}

func (w *warm) drop(hash uint64) {
	if before := w.find(hash); before != nil {
		w.held.Add(-before.snapshot.Size())
		w.place(hash).Store(nil)
	}
}

// parcel is an entry as ristretto has it. One at rest has content, which begins with the
// id and holds the snapshot, in a third of the memory and with hardly a pointer for the
// collector to follow. It doesn't change.
type parcel struct {
	entry
	content       string
	expires, read int64 // the snapshot's, on the tier's clock
	known         bool  // when it expires
}

// entryBytes is what a parcel takes beside its content, here and in ristretto's two maps.
const entryBytes = 240

func size(e *entry) int64 {
	size := entryBytes + int64(len(e.id))
	if e.snapshot != nil {
		size += e.snapshot.Size()
	}
	return size
}

// rest packs an entry that has lost its place among the warm, if ristretto hasn't got it
// so already and it may still be served. It is called under the hash's turn and inside the
// gate.
func (s *Storage) rest(e *entry) {
	if e == nil || e.rested || e.stamp != s.guard.Stamp(e.hash) {
		return
	}
	var room [1 << 10]byte
	b, ok := e.snapshot.Pack(append(room[:0], e.id...))
	if !ok {
		return
	}
	p := &parcel{entry: *e, content: string(b), expires: never}
	p.id, p.snapshot, p.rested = p.content[:len(e.id)], nil, true
	at, known := e.snapshot.Expires()
	if p.known = known; known && !at.IsZero() {
		p.expires = s.moment(at)
	}
	if began := e.snapshot.Read(); !began.IsZero() {
		p.read = s.moment(began)
	}
	s.set(p, entryBytes+int64(len(b)))
}

// wake makes the entry again, and leaves it among the warm.
func (s *Storage) wake(p *parcel) *entry {
	e := p.entry
	e.snapshot = tiers.Unpack(p.content[len(p.id):])
	if p.known {
		at := time.Time{}
		if p.expires != never {
			at = s.start.Add(time.Duration(p.expires))
		}
		e.snapshot = e.snapshot.Expiring(at)
	}
	if p.read != 0 {
		e.snapshot = e.snapshot.ReadAt(s.start.Add(time.Duration(p.read)))
	}
	if turn := s.keeping.turn(e.hash); turn.TryLock() { // a reader waits for nobody
		if s.taken(e.hash) == p {
			s.gate.do(e.hash, func() { s.rest(s.warm.put(&e)) })
		}
		turn.Unlock()
	}
	return &e
}
