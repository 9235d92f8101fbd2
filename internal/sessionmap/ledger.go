package sessionmap

import (
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/generations"
)

// ledger remembers the maps of a GoFrame version whose gmap can't carry an origin: by the Go map
// that a gmap holds, and the last one of each session. A map that it doesn't find, as it was
// cleared or too many came since, is compared with the session's last one: of two requests that
// overlap one may then undo what the other did.
//
// It has 8,192 maps and sessions at most. mu guards all fields.
type ledger struct {
	mu   sync.Mutex
	maps generations.Map[uintptr, *origin]
	last generations.Map[lastKey, *origin]
}

type lastKey struct {
	maps *Maps
	id   string
}

const ledgerSize = 4096

// unfollowed is nil, as long as GoFrame's maps can be followed.
var unfollowed atomic.Pointer[ledger]

// FollowsMaps reports whether the maps of this GoFrame version can be followed.
func FollowsMaps() bool {
	checkGoFrame()
	return unfollowed.Load() == nil
}

// PretendUnfollowed is the injected fault of tests, until restore is called.
func PretendUnfollowed() (restore func()) {
	checkGoFrame()
	before := unfollowed.Swap(&ledger{})
	return func() { unfollowed.Store(before) }
}

// newMap makes a map that can't carry its origin.
func (l *ledger) newMap(h *origin, id string) *gmap.StrAnyMap {
	h.m.KVMap = gmap.NewStrAnyMapFrom(h.first.held, true).KVMap
	h.first.held = heldBy(&h.m)
	l.note(h, h.first.held, id)
	return &h.m
}

// note finds h from now on by what a map holds, and as the session's last one.
func (l *ledger) note(h *origin, held map[string]any, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maps.Put(reflect.ValueOf(held).Pointer(), h, ledgerSize)
	l.last.Put(lastKey{h.maps, strings.Clone(id)}, h, ledgerSize)
}

// of finds the origin of a map, nil for none. The address isn't another map's: the origin keeps
// what it was noted for.
func (l *ledger) of(m *gmap.StrAnyMap) *origin {
	held := heldBy(m)
	at := reflect.ValueOf(held).Pointer()
	l.mu.Lock()
	defer l.mu.Unlock()
	h, _ := l.maps.Get(at)
	if h == nil {
		return nil
	}
	if g := h.now(); !sameMap(g.held, held) {
		return nil
	}
	return h
}

// lastOf returns the origin of a session's last map, nil if that isn't remembered.
func (l *ledger) lastOf(f *Maps, id string) *origin {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, _ := l.last.Get(lastKey{f, id})
	return h
}
