package tiers

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
)

// Face is the gsession side of a snapshot storage: it hands out maps that are the
// request's alone (law 2), and commits what the request changed in them (law 5),
// never what it had merely loaded (law 6).
//
// Every decorator of the capability has one for the layers above it that don't;
// the outermost one is the chain's. A Face is safe for concurrent use; its fields
// are set at construction and guard themselves.
type Face struct {
	core       Storage
	tombstones tombstones
	absences   absences
}

// NewFace makes the face of a storage.
func NewFace(core Storage) *Face {
	checkGoFrame()
	return &Face{core: core}
}

var errNilMap = NewError("strata: SetSession needs a map; call RemoveAll to remove a session", nil)

// GetSession answers a copy of the session, nil where there is none.
func (f *Face) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if CheckID(id) != nil {
		return nil, nil
	}
	stamp := f.tombstones.now()
	read, err := f.core.Load(ctx, id, ttl)
	if err != nil {
		return nil, err
	}
	if read.Snapshot == nil {
		f.absences.note(id)
		return nil, nil
	}
	return f.handOut(given{id: id, base: read.Snapshot, stamp: stamp}), nil
}

// closeGrace is how long after a commit an unchanged close of the same map is
// taken for GoFrame's second close of one request, and costs nothing. The expiry
// is then set at most so much, or a hundredth of ttl, before the last touch.
const closeGrace = time.Second

// SetSession commits what the map's holder changed since it was handed out. A map
// that this face did not hand out under this id replaces the session.
func (f *Face) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if m == nil {
		return errNilMap
	}
	if err := CheckID(id); err != nil {
		return err
	}
	var (
		stamp      = f.tombstones.now()
		h, g       = f.knows(m)
		data, held = contents(m)
		call       = adaptedCall(ctx)
		change     *Delta // what the holder did
		err        error
	)
	switch {
	case g != nil && call != adaptedNot:
		// What happened to the map is the adapter's and the strangers' doing.
		change, err = f.diff(g, data, g.held)
	case g != nil:
		change, err = f.diff(g, data, held)
	case call == adaptedCreate:
		change, err = Add(data)
	case call == adaptedReplace:
		change, err = Replace(data)
	case len(data) == 0 && f.tombstones.buried(id):
		f.absences.take(id)
		return nil // no close after RemoveAll may leave an empty session behind
	case f.absences.take(id):
		change, err = Add(data)
	default:
		change, err = Replace(data)
	}
	delta := change
	if err == nil && g != nil && g.id != id {
		delta, err = f.carry(ctx, h, g, change, data, ttl)
	}
	if err != nil || delta == nil {
		return err
	}
	if delta.Empty() && g.committedWithin(min(closeGrace, ttl/100)) {
		return nil
	}
	if change == nil {
		change = delta
	}
	before := int64(time.Since(started))
	if _, err = f.core.Commit(ctx, id, delta, ttl); err != nil {
		return err
	}
	if g != nil && g.id != id && !change.cleared && change.kind == updateDelta && f.tombstones.since(g.id, g.stamp) {
		// Logged out while it was carried: the new id must not outlive the old one.
		return errors.Join(ErrRevoked, f.core.RemoveAll(ctx, id))
	}
	f.tombstones.revive(id)
	f.remember(m, given{id: id, base: change.base, change: change, stamp: stamp, held: held, committed: before})
	return nil
}

// diff is the delta of a known map, nil where nothing is left to write.
func (f *Face) diff(g *given, data, held map[string]any) (*Delta, error) {
	removal := death{tombstones: &f.tombstones, id: g.id, stamp: g.stamp}
	if !removal.happened() {
		delta, err := Diff(g.state(), data)
		if err == nil {
			if !delta.Empty() { // it may be kept for long
				removal.id = strings.Clone(removal.id)
			}
			delta.deaths = []death{removal}
		}
		return delta, err
	}
	if !sameMap(g.held, held) {
		// The holder's own RemoveAll emptied the map: what is in it came later.
		if len(data) == 0 {
			return nil, nil
		}
		return Add(data)
	}
	delta, err := Diff(g.state(), data)
	if err != nil {
		return nil, err
	}
	if delta, err = delta.afterRemoval(); err != nil || len(delta.set) == 0 {
		return nil, err
	}
	return delta, nil
}

// carry is the delta that takes a session to another id, as RegenerateId does: the
// state in the store, not only the one that was handed out, with the holder's
// changes. A session that was removed meanwhile isn't carried anywhere.
//
// A map that the face didn't make may be a template for many sessions: only what it
// holds itself goes to another id.
func (f *Face) carry(ctx context.Context, h *handout, g *given, change *Delta, data map[string]any, ttl time.Duration) (*Delta, error) {
	if change == nil || change.kind != updateDelta || change.cleared && g.state().Len() > 0 || h.adopted() {
		return Replace(data)
	}
	// A cache may not know yet that the session has changed or is gone. A commit finds
	// out, and outdates what the cache knows.
	current, err := f.core.Commit(ctx, g.id, reread(g.state()), ttl)
	if err != nil {
		return nil, err
	}
	if current == nil {
		read, err := f.core.Load(ctx, g.id, ttl)
		if err != nil {
			return nil, err
		}
		current = read.Snapshot
	}
	next, err := change.Apply(current)
	if err != nil {
		return nil, err
	}
	return &Delta{kind: replaceDelta, set: next}, nil
}

// reread is a delta that changes nothing and isn't empty: it removes a key that no
// session has.
func reread(base *Snapshot) *Delta {
	return &Delta{kind: updateDelta, base: base, had: base.Len() > 0, removed: []string{inquiryKey}}
}

// outcome is the state of the map that the delta was made of.
func (d *Delta) outcome() *Snapshot {
	switch {
	case d.Empty():
		return d.base
	case d.kind != updateDelta:
		return Adopt(d.set)
	}
	data := make(map[string]any, len(d.base.data)+len(d.set))
	maps.Copy(data, d.base.data)
	maps.Copy(data, d.set)
	for _, key := range d.removed {
		delete(data, key)
	}
	return Adopt(data)
}

// Removed is to be called after RemoveAll of the session has succeeded. Maps that
// were handed out before are of the removed session from then on.
func (f *Face) Removed(id string) { f.tombstones.bury(id) }

// Empty makes the map of a direct store's session: it holds no data, and tells which
// session it stands for.
func (f *Face) Empty(id string) *gmap.StrAnyMap {
	return f.handOut(given{id: id, base: nothing, stamp: f.tombstones.now()})
}

// Mark has a map that Empty made stand for another session; others are left alone, as
// they may be shared.
func (f *Face) Mark(m *gmap.StrAnyMap, id string) {
	if h, g := f.knows(m); g != nil {
		h.given.Store(&given{id: id, base: nothing, stamp: f.tombstones.now(), held: g.held})
	}
}

// Marked answers the id that a map stands for, or "".
func (f *Face) Marked(m *gmap.StrAnyMap) string {
	if m == nil {
		return ""
	}
	if _, g := f.knows(m); g != nil {
		return g.id
	}
	return ""
}

// Revoked reports whether the session that a map stands for was removed since, other
// than by the map's holder, whose RemoveAll clears the map.
func (f *Face) Revoked(m *gmap.StrAnyMap) bool {
	_, g := f.knows(m)
	if g == nil || !f.tombstones.since(g.id, g.stamp) {
		return false
	}
	_, held := contents(m)
	return sameMap(g.held, held)
}

var nothing = Adopt(map[string]any{})
