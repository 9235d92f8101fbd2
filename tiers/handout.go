package tiers

import (
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
)

// handout is what the face remembers of a map that it handed out, or has written
// for a request that made the map itself.
//
// The map carries it: it is reached through the map's nil checker, the one place
// of a gmap.StrAnyMap that leads back to code of ours. So it costs no table, lives
// exactly as long as the map, and a map that merely has an equal address or equal
// content is never mistaken for it.
//
// given is replaced as a whole, by the close of the request that holds the map. The
// other fields are set before the map is handed out; they are here to be one
// allocation with it.
type handout struct {
	given atomic.Pointer[given]
	first given
	m     gmap.StrAnyMap
}

// given says which state of which session a map was made from. It is immutable.
type given struct {
	id    string
	base  *Snapshot
	stamp uint64 // the tombstones' clock before base was read

	committed int64 // when the holder last committed, on the clock since started; 0 if it hasn't
}

// started is the zero of the process's monotonic clock for handouts.
var started = time.Now()

// committedWithin reports whether the holder committed so recently.
func (g *given) committedWithin(d time.Duration) bool {
	return g.committed != 0 && int64(time.Since(started))-g.committed < int64(d)
}

// handOut makes a request's map of a snapshot.
func handOut(g given) *gmap.StrAnyMap {
	h := &handout{first: g}
	h.given.Store(&h.first)
	h.m.KVMap = gmap.NewKVMapWithCheckerFrom(g.base.Map(), h.isNil, true)
	return &h.m
}

// remember ties a map to what it now stands for, whoever made it. The map of a
// caller that asked for one without a lock is left alone.
func remember(m *gmap.StrAnyMap, g *given) {
	if h := handoutOf(m); h != nil {
		h.given.Store(g)
		return
	}
	if !isLocked(m) {
		return
	}
	h := &handout{}
	h.given.Store(g)
	m.SetNilChecker(h.isNil)
}

// givenTo answers what the map was handed out from, nil if it isn't ours.
func givenTo(m *gmap.StrAnyMap) *given {
	if h := handoutOf(m); h != nil {
		return h.given.Load()
	}
	return nil
}

// inquiry is the value with which the face asks a map's checker for its handout.
type inquiry struct{ answer *handout }

// inquiryKey is a key that no session has; nothing is ever stored under it.
const inquiryKey = "\x00strata\x00"

// handoutOf asks the map's nil checker by offering it a nil to store: the default
// checker finds it nil and stores nothing, ours answers as well.
func handoutOf(m *gmap.StrAnyMap) *handout {
	var q inquiry
	m.GetOrSet(inquiryKey, reflect.ValueOf(&q.answer).Elem())
	return q.answer
}

var answerType = reflect.TypeFor[*handout]()

// isNil is the checker: gmap's own rule, but for an inquiry.
func (h *handout) isNil(value any) bool {
	v, ok := value.(reflect.Value)
	if !ok {
		v = reflect.ValueOf(value)
	} else if v.IsValid() && v.Type() == answerType && v.CanSet() {
		v.Set(reflect.ValueOf(h))
		return true
	}
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Chan, reflect.Map, reflect.Slice, reflect.Func, reflect.Interface, reflect.UnsafePointer, reflect.Pointer:
		return v.IsNil()
	}
	return false
}

// isLocked reports whether the map has a lock: only then does Map copy.
func isLocked(m *gmap.StrAnyMap) bool {
	return reflect.ValueOf(m.Map()).Pointer() != reflect.ValueOf(m.Map()).Pointer()
}

// checkGoFrame fails at the first chain of a process, loudly, under a GoFrame whose
// maps don't consult their checker: no write could be merged.
var checkGoFrame = sync.OnceFunc(func() {
	m := handOut(given{id: inquiryKey, base: Adopt(nil)})
	if g := givenTo(m); g == nil || g.id != inquiryKey || m.Size() != 0 || givenTo(gmap.NewStrAnyMap(true)) != nil {
		panic("strata: the maps of this GoFrame version can't be followed; require github.com/gogf/gf/v2 v2.10.2")
	}
})
