package local

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// warm are the entries that were kept or served last, ready to be copied; ristretto has
// them at rest. It also takes a new key some time after Set, and not at all where too many
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

// put is called under the hash's turn, as drop is. Where too much is held already, the
// place is only emptied.
func (w *warm) put(e *entry) {
	place, size := w.place(e.hash), e.snapshot.Size()
	if before := place.Load(); before != nil {
		w.held.Add(-before.snapshot.Size())
	}
	if w.held.Add(size) > w.most {
		w.held.Add(-size)
		e = nil
	}
	place.Store(e)
}

func (w *warm) drop(hash uint64) {
	if before := w.find(hash); before != nil {
		w.held.Add(-before.snapshot.Size())
		w.place(hash).Store(nil)
	}
}

// parcel is an entry as ristretto has it. A small one is at rest: content, which begins
// with the id, holds its snapshot, in a third of the memory and with hardly a pointer for
// the collector to follow. It doesn't change.
type parcel struct {
	entry
	content       string
	expires, read int64 // the snapshot's, on the tier's clock
	known         bool  // when it expires
}

// entryBytes is what a parcel takes beside its content, here and in ristretto's two maps.
const entryBytes = 240

// rest makes a parcel, and tells what it takes.
func (s *Storage) rest(e *entry, small bool) (p *parcel, cost int64) {
	p = &parcel{entry: *e}
	if small {
		var room [1 << 10]byte
		if b, ok := e.snapshot.Pack(append(room[:0], e.id...)); ok {
			p.content, p.id, p.snapshot = string(b), "", nil
			p.id = p.content[:len(e.id)]
			at, known := e.snapshot.Expires()
			p.expires, p.known = s.moment(at), known
			if at.IsZero() {
				p.expires = never
			}
			if began := e.snapshot.Read(); !began.IsZero() {
				p.read = s.moment(began)
			}
			return p, entryBytes + int64(len(p.content))
		}
	}
	p.id = strings.Clone(e.id)
	cost = entryBytes + int64(len(p.id))
	if e.snapshot != nil {
		cost += e.snapshot.Size()
	}
	return p, cost
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
		if s.taken(e.hash) == p && s.warm.find(e.hash) == nil {
			s.warm.put(&e)
		}
		turn.Unlock()
	}
	return &e
}
