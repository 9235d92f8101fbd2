package sessionmap

import (
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/tiers"
)

// origin says which session and snapshot a map was made of. The Maps makes one for each map
// that it hands out, and for a map of a request's own when that is written.
//
// The map carries it: it is reached through the map's nil checker, the one part of a
// gmap.StrAnyMap that leads back to code of ours. So it needs no table, lives exactly as long
// as the map, and isn't found by another map at the same address or with the same content.
//
// given is nil until the request that holds the map closes it, and is replaced as a whole; first
// holds the state before that. The other fields are set before the map is handed out. Those below
// first are here to share the origin's allocation: each hit makes one, and a small heap is
// collected often.
type origin struct {
	maps  *Maps // others know nothing of the map
	given atomic.Pointer[given]
	first first
	m     gmap.StrAnyMap // unused in a map that its holder made, as is what follows
	kv    gmap.KVMap[string, any]
	lock  sync.RWMutex
}

// first is the session and snapshot that a map was handed out of. It is smaller than given, as each hit makes one.
type first struct {
	id    string
	base  *tiers.Snapshot
	stamp uint64
	held  map[string]any
}

// adopted reports whether the map was made by its holder.
func (h *origin) adopted() bool { return h.m.KVMap == nil }

// given says which state of which session a map was made from. It is immutable.
type given struct {
	id     string
	base   *tiers.Snapshot
	change *tiers.Delta   // of the holder's last close; nil if there was none
	stamp  uint64         // the tombstones' clock before base was read
	held   map[string]any // the Go map that the map was made of; its address is compared, and it is never read

	committed int64        // when the holder last committed, on the clock since started; 0 if it hasn't
	refused   error        // of the holder's last close, if that was refused for good
	unsure    *tiers.Delta // of a last close that failed and may have been applied, made conditional; or nil
}

// state returns the map's content when it was handed out or last closed. That isn't the store's
// state: a key that another request added must not look like one that this request removed.
// It is made only when it is asked for, as most maps are closed once.
func (g *given) state() *tiers.Snapshot {
	switch change := g.change; {
	case change == nil:
		return g.base
	case change.Empty():
		return change.Base()
	case change.Base() == nil:
		return tiers.Adopt(change.Set())
	default:
		data := make(map[string]any, change.Base().Len()+len(change.Set()))
		maps.Copy(data, change.Base().Data())
		maps.Copy(data, change.Set())
		for _, key := range change.Removed() {
			delete(data, key)
		}
		return tiers.Adopt(data)
	}
}

// started is the zero of the process's monotonic clock for origins.
var started = time.Now()

// committedWithin reports whether the holder committed so recently.
func (g *given) committedWithin(d time.Duration) bool {
	return g.committed != 0 && int64(time.Since(started))-g.committed < int64(d)
}

// newMap makes a request's map of a snapshot.
func (f *Maps) newMap(g given) *gmap.StrAnyMap {
	if g.held = g.base.Map(); f.hidden != "" {
		delete(g.held, f.hidden)
	}
	h := &origin{maps: f, first: first{g.id, g.base, g.stamp, g.held}}
	h.m.KVMap = &h.kv // as gmap.NewKVMapWithCheckerFrom(g.held, h.isNil, true) makes it
	*at[*sync.RWMutex](h.m.KVMap, lockField) = &h.lock
	*at[map[string]any](h.m.KVMap, dataField) = g.held
	*at[gmap.NilChecker[any]](h.m.KVMap, checkerField) = h.isNil
	return &h.m
}

// remember sets the state that a map now stands for. h is its origin, nil for a map that its holder made. A map
// of another Maps is left alone, and so is one without a lock or with a nil checker of its owner's.
func (f *Maps) remember(m *gmap.StrAnyMap, h *origin, g given) {
	switch {
	case h == nil && isFree(m):
		h = &origin{maps: f}
		h.given.Store(&g)
		m.SetNilChecker(h.isNil)
	case h != nil && h.maps == f:
		h.given.Store(&g)
	}
}

// knows returns the map's origin and state, nil if it isn't of this Maps.
func (f *Maps) knows(m *gmap.StrAnyMap) (*origin, *given) {
	if h := originOf(m); h != nil && h.maps == f {
		return h, h.now()
	}
	return nil, nil
}

// now returns the session and state that the map stands for.
func (h *origin) now() *given {
	if g := h.given.Load(); g != nil {
		return g
	}
	return &given{id: h.first.id, base: h.first.base, stamp: h.first.stamp, held: h.first.held}
}

// heldBy is the Go map that a map holds: Clear and Replace put another one in its place.
func heldBy(m *gmap.StrAnyMap) (held map[string]any) {
	m.RLockFunc(func(current map[string]any) { held = current })
	return held
}

// sameMap reports whether two variables hold one Go map.
func sameMap(a, b map[string]any) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// Where a gmap keeps its checker, its lock and its data.
var (
	checkerField = fieldOf[gmap.NilChecker[any]]("nilChecker")
	lockField    = fieldOf[*sync.RWMutex]("mu", "mutex")
	dataField    = fieldOf[map[string]any]("data")
	ourChecker   = reflect.ValueOf((&origin{}).isNil).Pointer()
)

// field is a field of a gmap.KVMap, found by its name and type.
type field struct {
	found  bool
	offset uintptr
}

func fieldOf[T any](names ...string) (f field) {
	t := reflect.TypeFor[gmap.KVMap[string, any]]()
	for _, name := range names {
		part, ok := t.FieldByName(name)
		if !ok || len(part.Index) != 1 {
			return field{}
		}
		f.offset, t = f.offset+part.Offset, part.Type
	}
	f.found = t == reflect.TypeFor[T]()
	return f
}

// at is the field, which has the type: see canFollow.
func at[T any](m *gmap.KVMap[string, any], f field) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(m), f.offset))
}

// isFree reports whether a map may be given a checker of ours: it has a lock, and no checker of its
// owner's. It changes nothing.
func isFree(m *gmap.StrAnyMap) (free bool) {
	m.RLockFunc(func(map[string]any) {
		free = *at[gmap.NilChecker[any]](m.KVMap, checkerField) == nil && *at[*sync.RWMutex](m.KVMap, lockField) != nil
	})
	return free
}

// inquiry is passed to a checker of ours, which sets its own origin in it. No program can store one.
type inquiry struct{ origin *origin }

// originOf asks the map's nil checker, if it is ours. It changes nothing.
func originOf(m *gmap.StrAnyMap) (h *origin) {
	m.RLockFunc(func(map[string]any) {
		checker := *at[gmap.NilChecker[any]](m.KVMap, checkerField)
		if checker != nil && reflect.ValueOf(checker).Pointer() == ourChecker {
			var asked inquiry
			checker(&asked)
			h = asked.origin
		}
	})
	return h
}

// isNil is the checker: gmap's own rule, except for an inquiry.
func (h *origin) isNil(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case *inquiry:
		v.origin = h
		return true
	}
	v, ok := value.(reflect.Value)
	if !ok {
		v = reflect.ValueOf(value)
	}
	switch v.Kind() {
	case reflect.Chan, reflect.Map, reflect.Slice, reflect.Func, reflect.Interface, reflect.UnsafePointer, reflect.Pointer:
		return v.IsNil()
	}
	return false
}

// canFollow reports whether GoFrame's maps have these fields, and consult their checker. It looks once a process.
var canFollow = sync.OnceValue(func() (follows bool) {
	defer func() { follows = recover() == nil && follows }()
	if !checkerField.found || !lockField.found || !dataField.found {
		return false
	}
	f, free := &Maps{}, gmap.NewStrAnyMap(true)
	m := f.newMap(given{base: tiers.Adopt(nil)})
	h, _ := f.knows(m)
	if h == nil || &h.m != m || m.Size() != 0 || originOf(free) != nil {
		return false
	}
	f.remember(free, nil, given{})
	h = originOf(free)
	return h != nil && h.adopted()
})
