package local

import (
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// memory keeps sessions that are ready to be copied (hot), packed ones in ristretto, and ids
// without a session. Ristretto may drop, delay and reorder what it is given, so an entry is
// served only if its stamp is current, wherever it is found (serve.go).
//
// limits and sessions are atomic; the other fields are set at construction and guard themselves.
type memory struct {
	clock
	options  *Options
	limits   atomic.Pointer[Options] // those of them that may change
	guard    *guard
	watch    *watch
	tally    *telemetry.Tally
	cache    *ristretto.Cache[uint64, *packed]
	gate     gate
	stripes  [64]stripe
	hot      hot
	absences absences
	sessions atomic.Int64 // in ristretto
}

// stripe has one of 64 parts of the hashes, and so of the hot entries' places. Entries of a
// hash are kept, and its calls begin and end, under the lock, which guards the stripe's fields
// and all of those of calls.
type stripe struct {
	sync.Mutex
	calls map[uint64]*calls
	given [8]uint64 // hashes of the entries that ristretto was given last; it may not have taken them yet
	gifts int
}

func (m *memory) stripe(hash uint64) *stripe { return &m.stripes[hash%uint64(len(m.stripes))] }

// lock returns the hash's stripe, locked.
func (m *memory) lock(hash uint64) *stripe {
	s := m.stripe(hash)
	s.Lock()
	return s
}

func (m *memory) init() error {
	m.hot.init(m.options.MaxBytes)
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *packed]{
		// Ten counters for each session of 1 KiB that fits, as ristretto advises.
		NumCounters:        min(max(m.options.MaxBytes/1024, 1000), 10_000_000) * 10,
		MaxCost:            m.options.MaxBytes - m.hot.most.Load(),
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnEvict:            func(*ristretto.Item[*packed]) { m.tally.Add(telemetry.Evictions) },
		OnReject:           m.rejected,
		OnExit:             m.left,
	})
	m.cache = cache
	return err
}

// left is called by the cache for each entry that it has no more, or didn't take.
func (m *memory) left(p *packed) {
	if p != nil {
		m.sessions.Add(-1)
	}
}

// rejected is called by the cache for what its policy refuses, and also for a second Set that
// came before the first was taken: that session is in memory.
func (m *memory) rejected(item *ristretto.Item[*packed]) {
	if _, held := m.cache.Get(item.Key); !held {
		m.tally.Add(telemetry.RejectedByPolicy)
	}
}

// keep puts a copy of an entry where it is found. Its id may have been a part of something large, and isn't
// any more.
func (m *memory) keep(hash uint64, e *entry) {
	e.hash = hash
	e.cached = false
	if e.absent {
		kept := *e
		kept.id = ""
		m.absences.put(&kept)
		return
	}
	m.gate.do(hash, func() {
		if e.snapshot == nil || e.size() > mostSmall {
			kept := *e
			kept.id = strings.Clone(e.id)
			e.id = kept.id
			m.set(hash, &packed{entry: &kept})
			m.hot.drop(hash)
			return
		}
		kept := e.compact()
		e.id = kept.id
		m.hot.put(kept, m.demote)
	})
}

// set is called under the stripe's lock and inside the gate. Ristretto makes room only for a key that it hasn't, so
// that an entry which has grown leaves if there is none; when it comes again, the least used ones leave.
func (m *memory) set(hash uint64, p *packed) {
	if before := m.taken(hash); before != nil && max(0, p.cost()-before.cost()) > m.cache.RemainingCost() {
		m.cache.Del(hash)
		return
	}
	if !m.cache.Set(hash, p, p.cost()) {
		m.tally.Add(telemetry.RejectedByQueue)
		return
	}
	m.sessions.Add(1)
	s := m.stripe(hash)
	s.given[s.gifts%len(s.given)] = hash
	s.gifts++
}

// resize sets the bytes that ristretto may hold, and removes what is beyond.
func (m *memory) resize(most int64) {
	m.cache.UpdateMaxCost(most)
	var beyond []uint64
	m.cache.IterValues(func(p *packed) (stop bool) {
		most -= p.cost()
		if most < 0 {
			beyond = append(beyond, m.guard.Hash(p.name()))
		}
		return false
	})
	for _, hash := range beyond {
		m.cache.Del(hash)
	}
}

// find returns the entry that was kept last under the hash, nil for none. It may be another
// session's, or packed, without its snapshot.
func (m *memory) find(hash uint64) *entry {
	if e := m.hot.find(hash); e != nil {
		return e
	}
	if p := m.taken(hash); p != nil {
		return m.entry(hash, p)
	}
	return nil
}

// lookup is find, with the snapshot of an entry that may be served.
func (m *memory) lookup(hash uint64) *entry {
	if m.gate.closed() {
		return nil
	}
	if e, first := m.hot.use(hash); e != nil {
		if first {
			m.taken(hash) // so that ristretto keeps entries that are used often
		}
		return e
	}
	switch p := m.taken(hash); {
	case p == nil:
		return nil
	case p.entry != nil || p.stamp != m.guard.Stamp(hash):
		return m.entry(hash, p)
	default:
		return m.promote(hash, p)
	}
}

// count returns how many sessions there are, each counted once; those that ristretto is about to
// take may count twice.
func (m *memory) count() (sessions int64) {
	sessions = m.sessions.Load()
	m.hot.each(func(e *entry) {
		m.gate.do(e.hash, func() {
			if _, has := m.cache.GetTTL(e.hash); !has { // unlike Get, this isn't a use of it
				sessions++
			}
		})
	})
	return sessions
}

// each is called when nothing is kept any more, and calls f for each entry that is still valid,
// the hot ones first.
func (m *memory) each(f func(id string, size int64)) {
	m.hot.each(func(e *entry) {
		if e.stamp == m.guard.Stamp(e.hash) {
			f(e.id, e.size())
		}
	})
	m.cache.IterValues(func(p *packed) (stop bool) {
		id, stamp, size := p.name(), p.stamp, int64(len(p.content))
		if e := p.entry; e != nil {
			stamp, size = e.stamp, e.size()
		}
		if size > 0 && stamp == m.guard.Stamp(m.guard.Hash(id)) {
			f(id, size)
		}
		return false
	})
}

// taken returns the entry that ristretto has under the hash, nil for none.
func (m *memory) taken(hash uint64) (p *packed) {
	if m.gate.enter(hash) {
		p, _ = m.cache.Get(hash)
		m.gate.leave(hash)
	}
	return p
}

// packed is an entry as ristretto has it: as it is if it is large or holds Go types, else with
// its id and snapshot in one text, in a third of the memory and with hardly a pointer for the
// collector to follow. It doesn't change.
type packed struct {
	entry *entry

	content string // the id, the moment of Snapshot.Read if there is one, what Pack makes
	stamp   uint64
	loaded  int64
	ends    int64 // on the tier's clock: the snapshot's expiry if it is known, or else until
	own     *ownWrite
	id      uint32 // bytes of content
	known   bool   // when it expires
	read    bool   // content has it
	watched bool
}

func (p *packed) name() string {
	if p.entry != nil {
		return p.entry.id
	}
	return p.content[:p.id]
}

func (p *packed) cost() int64 {
	if p.entry != nil {
		return p.entry.cost()
	}
	return entryBytes + int64(len(p.content))
}

// entryBytes is the memory of an entry beside its id and snapshot, here and in ristretto's two maps.
const entryBytes = 224

// cost is about the number of bytes of an entry that isn't packed.
func (e *entry) cost() int64 {
	return entryBytes + int64(len(e.id)) + e.size()
}

func (e *entry) size() int64 {
	if e.snapshot == nil {
		return 0
	}
	return e.snapshot.Size()
}

// piece is a hot entry in one allocation with its snapshot and its id, which takes four lines of
// the processor's cache; a hit reads three. A longer id is a copy of its own.
type piece struct {
	entry    entry
	snapshot tiers.Snapshot
	id       [pieceBytes - unsafe.Sizeof(entry{}) - unsafe.Sizeof(tiers.Snapshot{})]byte
}

// pieceBytes is a size for which Go's allocator returns whole lines.
const pieceBytes = 256

// compact copies the entry into a piece.
func (e *entry) compact() *entry {
	p := &piece{entry: *e, snapshot: *e.snapshot}
	p.entry.snapshot = &p.snapshot
	if len(e.id) <= len(p.id) {
		p.entry.id = unsafe.String(&p.id[0], copy(p.id[:], e.id)) // the bytes aren't written after this
	} else {
		p.entry.id = strings.Clone(e.id) // it may be a part of something large
	}
	return &p.entry
}

// entry returns the entry that was packed, without its snapshot if that has to be unpacked.
func (m *memory) entry(hash uint64, p *packed) *entry {
	if p.entry != nil {
		return p.entry
	}
	until := p.ends
	if p.known && !m.options.Exclusive && !p.watched { // see horizon
		until = min(until, later(p.loaded, m.limits.Load().MaxStale))
	}
	return &entry{hash: hash, id: p.content[:p.id], stamp: p.stamp, until: until, loaded: p.loaded,
		own: p.own, watched: p.watched, cached: true}
}

// demote gives ristretto an entry that has lost its place among the hot ones, packed if it can
// be, unless it has it so already or the entry can't be served any more. It is called under
// the stripe's lock and inside the gate.
func (m *memory) demote(e *entry) {
	if e.cached && m.taken(e.hash) != nil || e.stamp != m.guard.Stamp(e.hash) {
		return
	}
	p := m.pack(e)
	if p == nil {
		p = &packed{entry: e}
	}
	m.set(e.hash, p)
}

// pack returns nil for an entry that can't be packed, as it has values of types that JSON doesn't
// decode to.
func (m *memory) pack(e *entry) *packed {
	at, known := e.snapshot.Expires()
	began := e.snapshot.Read()
	p := &packed{stamp: e.stamp, loaded: e.loaded, ends: e.until, own: e.own,
		id: uint32(len(e.id)), known: known, read: !began.IsZero(), watched: e.watched}
	switch {
	case known && at.IsZero():
		p.ends = never
	case known:
		p.ends = m.moment(at)
	}
	var room [1 << 10]byte
	b := append(room[:0], e.id...)
	if p.read {
		b = binary.NativeEndian.AppendUint64(b, uint64(m.moment(began)))
	}
	b, ok := e.snapshot.Pack(b)
	if !ok {
		return nil
	}
	p.content = string(b)
	return p
}

// unpack returns the whole entry.
func (m *memory) unpack(hash uint64, p *packed) *entry {
	e, rest := m.entry(hash, p), p.content[p.id:]
	began := time.Time{}
	if p.read {
		began = m.time(int64(binary.NativeEndian.Uint64([]byte(rest[:8]))))
		rest = rest[8:]
	}
	e.snapshot = tiers.Unpack(rest)
	if p.known {
		at := time.Time{}
		if p.ends != never {
			at = m.time(p.ends)
		}
		e.snapshot = e.snapshot.Expiring(at)
	}
	if p.read {
		e.snapshot = e.snapshot.ReadAt(began)
	}
	return e
}

// promote unpacks an entry, and makes it hot.
func (m *memory) promote(hash uint64, p *packed) *entry {
	e := m.unpack(hash, p)
	if stripe := m.stripe(hash); stripe.TryLock() { // a reader never waits for it
		if m.taken(hash) == p && m.hot.find(hash) == nil {
			m.gate.do(hash, func() { m.hot.put(e.compact(), m.demote) })
		}
		stripe.Unlock()
	}
	return e
}

const mostAbsences = 4096

// absences are ids without a session. They are kept apart from the cache, so that a flood of
// made-up ids pushes no session out. An id that shares a slot replaces the other. Ids
// are known by their 64-bit hashes under a random seed, as they may be long.
// Each slot is an atomic pointer to an entry that doesn't change.
type absences [mostAbsences]atomic.Pointer[entry]

// slot takes the hash's upper bits; the guard takes the lower ones.
func (a *absences) slot(hash uint64) *atomic.Pointer[entry] {
	return &a[hash>>32%mostAbsences]
}

func (a *absences) put(e *entry) { a.slot(e.hash).Store(e) }

// find returns the entry that was put under the hash.
func (a *absences) find(hash uint64) *entry {
	if e := a.slot(hash).Load(); e != nil && e.hash == hash {
		return e
	}
	return nil
}

const gateStripes = 64

// gate keeps calls of the cache apart from its Close, which ristretto doesn't: a Get
// or a Set that overlaps it panics. A call inside is short and never blocks.
//
// shut and the counts of the calls inside are atomics. A call counts itself first and
// looks at shut afterwards, and close does it the other way round, so that each
// call is either counted or turned away.
type gate struct {
	shut   atomic.Bool
	inside [gateStripes]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

func (g *gate) enter(hash uint64) bool {
	stripe := &g.inside[hash%gateStripes].n
	stripe.Add(1)
	if g.shut.Load() {
		stripe.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave(hash uint64) { g.inside[hash%gateStripes].n.Add(-1) }

func (g *gate) do(hash uint64, f func()) {
	if g.enter(hash) {
		f()
		g.leave(hash)
	}
}

func (g *gate) closed() bool { return g.shut.Load() }

// close turns all calls away and returns when none is inside; false the second time.
func (g *gate) close() bool {
	if !g.shut.CompareAndSwap(false, true) {
		return false
	}
	for n := range g.inside {
		for g.inside[n].n.Load() != 0 {
			runtime.Gosched()
		}
	}
	return true
}
