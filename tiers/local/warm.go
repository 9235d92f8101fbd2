package local

import (
	"encoding/binary"
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
// The places are atomic, and written under their turn of keeping; what is here under a
// hash is never older than what ristretto has under it, and looked for first. held and
// alone are atomic.
type warm struct {
	places []atomic.Pointer[entry]
	held   atomic.Int64 // bytes of their snapshots
	alone  atomic.Int64 // those that ristretto hasn't got
	most   int64        // of held
}

const (
	// warmPart is the part of MaxBytes that they may take; ristretto has the rest.
	warmPart = 8

	// mostSmall bounds a snapshot that is among the warm, and at rest in ristretto.
	mostSmall = 16 << 10

	leastPlaces, mostPlaces = 256, 1 << 16 // powers of two, as turns of keeping are
)

func (w *warm) init(maxBytes int64) {
	w.most = maxBytes / warmPart
	places := leastPlaces
	for places < mostPlaces && int64(places)<<10 <= w.most {
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

// put is called under the hash's turn, as drop is. Who finds no place any more is to rest:
// another entry that had it, and this one where too much is held already.
func (w *warm) put(e *entry, rest func(loser *entry)) {
	place := w.place(e.hash)
	if before := place.Load(); before != nil {
		w.count(before, -1)
		if before.hash != e.hash {
			rest(before)
		}
	}
	if w.count(e, 1) > w.most {
		w.count(e, -1)
		rest(e)
		place.Store(nil)
		return
	}
	place.Store(e)
}

func (w *warm) drop(hash uint64) {
	if before := w.find(hash); before != nil {
		w.count(before, -1)
		w.place(hash).Store(nil)
	}
}

// count counts entries that come, or go, and answers what is held.
func (w *warm) count(e *entry, entries int64) (held int64) {
	if e.alone {
		w.alone.Add(entries)
	}
	return w.held.Add(entries * e.snapshot.Size())
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
		until = min(until, later(p.loaded, s.options.maxStale))
	}
	return &entry{hash: hash, id: p.content[:p.id], stamp: p.stamp, until: until, loaded: p.loaded,
		echo: p.echo, watched: p.watched, rested: true}
}

// rest gives ristretto an entry that has lost its place among the warm, packed if it can
// be, unless it has got it so already or it mayn't be served any more. It is called under
// the hash's turn and inside the gate.
func (s *Storage) rest(e *entry) {
	if e.rested || e.stamp != s.guard.Stamp(e.hash) {
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
			s.gate.do(hash, func() { s.warm.put(e, s.rest) })
		}
		turn.Unlock()
	}
	return e
}
