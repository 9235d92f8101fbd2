package sessionmap

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/change"
	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

// Maps is the gsession side of a snapshot storage: it hands out maps that are the
// request's alone (law 2), and commits the request's changes of them (law 5), never keys
// that it had only loaded (law 6).
//
// Each decorator with snapshots has one, for a layer above it without them; the outermost
// one is the chain's. It is safe for concurrent use; its fields are set at construction and
// guard themselves.
type Maps struct {
	core       tiers.Storage
	hidden     string // a key, "" for none
	tombstones tombstones
	absences   absences
	moves      moves
}

var errUnknownMaps = tiers.NewError("strata: the maps of this GoFrame version can't be followed, so that overlapping requests would lose updates; "+
	"build the program with github.com/gogf/gf/v2 v2.10.2, or a newer version of Strata", nil)

// New makes the Maps of a storage. It panics with a failure.SetupError under a GoFrame whose maps can't be followed.
func New(core tiers.Storage) *Maps {
	if !canFollow() {
		panic(&failure.SetupError{Cause: errUnknownMaps})
	}
	return &Maps{core: core}
}

// Hide reserves a key for a layer below: maps that are handed out don't have it, and a value that a map holds
// under it isn't written. It is called before any other method. A request that removes all keys removes the
// hidden one as well.
func (f *Maps) Hide(key string) { f.hidden = key }

var errNilMap = tiers.NewError("strata: SetSession needs a map; call RemoveAll to remove a session", nil)

// GetSession returns a copy of the session, nil if there is none.
func (f *Maps) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if tiers.CheckID(id) != nil {
		return nil, nil
	}
	for removals := 0; ; {
		stamp := f.tombstones.now()
		read, err := f.core.Load(ctx, id, ttl)
		if err != nil {
			return nil, err
		}
		if read.Snapshot == nil {
			f.absences.note(id)
			return nil, nil
		}
		// A removal during the load left no tombstone if no map of the id was expected.
		if f.tombstones.expect(id) && f.tombstones.now() != stamp {
			continue
		}
		// A removal that left one may have come before the state that was loaded: a session that began since
		// would be taken for the removed one.
		if removals++; removals < mostRemovals && f.tombstones.Since(id, stamp) {
			continue
		}
		return f.newMap(given{id: id, base: read.Snapshot, stamp: stamp}), nil
	}
}

// mostRemovals is how many removals during a load have it repeated.
const mostRemovals = 4

// closeGrace is how long after a commit an unchanged close of the same map is taken for
// GoFrame's second close of a request, and costs nothing. The expiry may be so much, or a
// hundredth of the ttl, earlier than after a slide.
const closeGrace = time.Second

// SetSession commits what the map's holder changed since it was handed out, or since its last
// close. A close that changed nothing loses nothing: it slides the expiry, and returns nil
// if the session is gone. A change that was refused for good is refused again, without
// asking the store; [RefusedBefore] distinguishes it from the first time. One that may have been
// applied although its close failed is conditional when it is closed again.
//
// A map that a gsession.Session made, after it had found no session, joins what
// others have created meanwhile, and is followed from then on. Any other map that this Maps
// did not hand out replaces the session, each time.
func (f *Maps) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	if m == nil {
		return errNilMap
	}
	if err := tiers.CheckID(id); err != nil {
		return err
	}
	call, urgent := adaptedCall(ctx)
	c := closing{id: id, m: m, carrier: originOf(m)}
	if c.carrier != nil && c.carrier.maps == f {
		c.origin, c.given = c.carrier, *c.carrier.now()
	}
	err := f.findChange(&c, call)
	if c.follows {
		f.tombstones.expect(id)
	}
	c.stamp = f.tombstones.now()
	var delta *tiers.Delta
	var carried *tiers.Snapshot
	if err == nil {
		delta, carried, err = f.toCommit(ctx, &c, urgent, ttl)
		if err == nil && delta == nil {
			return nil
		}
	}
	unchanged := err == nil && delta.Empty() && call == adaptedNot
	if unchanged {
		switch g := &c.given; {
		case g.refused != nil:
			return refusedBefore(g.refused)
		case g.committedWithin(min(closeGrace, ttl/100)) || f.tombstones.Since(g.id, g.stamp):
			return nil
		}
	}
	began := int64(time.Since(started))
	if err == nil {
		if _, err = f.core.Commit(ctx, id, delta, ttl); unchanged && errors.Is(err, tiers.ErrRevoked) {
			return nil
		}
	}
	if err == nil && carried != nil {
		err = f.recheck(ctx, id, &c.given, c.change, carried, ttl)
	}
	f.note(&c, began, err)
	return err
}

// closing is one call of SetSession: what is known of the map, and what its holder has changed.
type closing struct {
	id      string
	m       *gmap.StrAnyMap
	carrier *origin // that the map carries, nil for none
	origin  *origin // that, if the map is of this Maps; else nil
	given   given   // what the map stands for, nothing without an origin

	change  *tiers.Delta   // nil if nothing is left to write
	held    map[string]any // the Go map that the change was made of
	follows bool           // the map stands for the session from now on
	stamp   uint64         // the tombstones' clock after that
}

// findChange finds what the holder of the map has changed.
func (f *Maps) findChange(c *closing, call adapted) (err error) {
	if c.origin != nil {
		c.follows = true
		// The adapter, or a decorator above this Maps, may have replaced what the map holds.
		c.change, c.held, err = f.diff(&c.given, c.id, c.m, call != adaptedNot)
		return err
	}
	var data map[string]any
	data, c.held = f.contents(c.m)
	switch {
	case call == adaptedCreate:
		c.change, err = tiers.Add(data)
	case call == adaptedReplace || c.carrier != nil || !bySession():
		c.change, err = tiers.Replace(data)
	case len(data) == 0 && f.absences.noted(c.id):
		// After its RemoveAll, for example: an empty session would be left behind.
	case f.absences.take(c.id):
		c.follows = true
		c.change, err = tiers.Add(data)
	default:
		c.follows = true
		c.change, err = tiers.Replace(data)
	}
	return err
}

// toCommit returns the delta to commit, nil for none, and for a session that changes its id also what the store held
// under the old one.
func (f *Maps) toCommit(ctx context.Context, c *closing, urgent bool, ttl time.Duration) (delta *tiers.Delta, carried *tiers.Snapshot, err error) {
	delta = c.change
	if c.origin != nil && c.given.id != c.id {
		delta, carried, err = f.carry(ctx, c.origin, &c.given, c.change, c.m, ttl)
	}
	if err != nil || delta == nil {
		return nil, nil, err
	}
	if c.change == nil {
		c.change = delta
	}
	if f.tombstones.Since(c.id, 0) {
		delta = delta.AsRecreating()
	}
	switch {
	case !urgent:
	case delta.Empty():
		delta = tiers.Inquiry(delta.Base())
	default:
		delta = delta.AsUrgent()
	}
	return delta, carried, nil
}

// note sets what the map stands for after a commit that began at a moment, and ended with err.
func (f *Maps) note(c *closing, began int64, err error) {
	change, g, knows := c.change, &c.given, c.origin != nil
	switch {
	case err == nil && c.follows:
		f.remember(c.m, c.carrier, given{id: c.id, base: change.Base(), change: change, stamp: c.stamp, held: c.held, committed: began})
	case err == nil || change == nil:
	case knows && failure.IsFinal(err):
		f.remember(c.m, c.carrier, given{id: g.id, base: change.Base(), change: change, stamp: g.stamp, held: c.held, refused: err})
	case c.follows && (!knows || g.id == c.id) && !change.Empty() && tiers.MayBeApplied(err) && !failure.IsFinal(err):
		unsure := given{id: c.id, base: nothing, stamp: c.stamp}
		if knows {
			unsure = *g
		}
		unsure.held, unsure.unsure = c.held, change.Conditional(nil)
		f.remember(c.m, c.carrier, unsure)
	}
}

// contents copies a map's values, without the hidden key, and returns the Go map that holds them.
func (f *Maps) contents(m *gmap.StrAnyMap) (data, held map[string]any) {
	m.RLockFunc(func(current map[string]any) {
		held, data = current, maps.Clone(current)
	})
	if f.hidden != "" {
		delete(data, f.hidden)
	}
	return data, held
}

// compare compares a map with a state of its session.
func (f *Maps) compare(m *gmap.StrAnyMap, state *tiers.Snapshot) (d change.Difference, held map[string]any) {
	m.RLockFunc(func(current map[string]any) {
		held, d = current, change.Compare(state.Data(), current, f.hidden)
	})
	return d, held
}

// diff returns the delta of a map that this Maps knows, nil if nothing is left to write, and the Go map that the
// delta was made of. A delta that is refused comes with ErrRevoked. If the last close failed and may have been
// applied, and the map is unchanged since, diff returns the delta of that close. If replaced is set, the map may
// hold another Go map although its holder hasn't emptied it.
func (f *Maps) diff(g *given, id string, m *gmap.StrAnyMap, replaced bool) (*tiers.Delta, map[string]any, error) {
	if g.unsure != nil && g.id == id {
		state := (&given{change: g.unsure}).state()
		difference, held := f.compare(m, state)
		if more, err := tiers.DeltaOf(state, difference); err == nil && more.Empty() {
			return g.unsure, held, nil
		}
	}
	gone := f.tombstones.Since(g.id, g.stamp)
	state := g.state()
	difference, held := f.compare(m, state)
	if gone && !replaced && !sameMap(g.held, held) {
		// The holder's own RemoveAll emptied the map: what is in it came later.
		data, held := f.contents(m)
		if len(data) == 0 {
			return nil, held, nil
		}
		delta, err := tiers.Add(data)
		return delta, held, err
	}
	removal := change.Removal{Of: &f.tombstones, Hash: hashID(g.id), Stamp: g.stamp}
	delta, err := tiers.DeltaOf(state, difference, removal)
	switch {
	case err != nil:
		return nil, held, err
	case !gone || delta.Empty():
		return delta, held, nil
	case !delta.Begins():
		return delta, held, tiers.ErrRevoked
	case len(delta.Set()) == 0:
		return nil, held, nil
	}
	delta, err = tiers.Add(delta.Set())
	return delta, held, err
}

// carry returns the delta that takes a session to another id, as RegenerateId does: the state
// in the store with the holder's changes. A session that was removed meanwhile isn't carried.
//
// A map that the Maps didn't make may be a template for many sessions: only its own values go
// to another id.
//
// carried is the state that the store held under the old id, nil if it wasn't loaded.
func (f *Maps) carry(ctx context.Context, h *origin, g *given, change *tiers.Delta, m *gmap.StrAnyMap, ttl time.Duration) (_ *tiers.Delta, carried *tiers.Snapshot, err error) {
	if change == nil || change.Base() == nil || change.Begins() && g.state().Len() > 0 || h.adopted() {
		data, _ := f.contents(m)
		delta, err := tiers.Replace(data)
		return delta, nil, err
	}
	current, err := f.look(ctx, g.id, g.state(), ttl)
	if err != nil {
		return nil, nil, err
	}
	next, err := change.Apply(current)
	if err != nil {
		return nil, nil, err
	}
	delta, err := tiers.Replace(next)
	if err != nil {
		return nil, nil, err
	}
	return delta.AsUrgent(), current, nil
}

// look returns the session as the store holds it, and ErrRevoked if base had keys and the session
// is gone. It asks by a commit, as a cache may not know yet that the session has changed.
func (f *Maps) look(ctx context.Context, id string, base *tiers.Snapshot, ttl time.Duration) (*tiers.Snapshot, error) {
	current, err := f.core.Commit(ctx, id, tiers.Inquiry(base), ttl)
	if err != nil || current != nil {
		return current, err
	}
	read, err := f.core.Load(ctx, id, ttl)
	if err == nil && base.Len() > 0 && read.Snapshot.Len() == 0 {
		err = tiers.ErrRevoked
	}
	return read.Snapshot, err
}

// undoTimeout bounds the removal of a session that must not live.
const undoTimeout = 5 * time.Second

// recheck is called after a session was written under its new id. A request on any node may have logged out
// under the old id since that was read, and not have found the new one: then, or if the old id can't be looked
// up, the new session is removed. Changes that were committed under the old id meanwhile go to the new one.
func (f *Maps) recheck(ctx context.Context, id string, g *given, change *tiers.Delta, carried *tiers.Snapshot, ttl time.Duration) error {
	m := move{from: g.id, to: strings.Clone(id), change: change, carried: carried, ttl: ttl}
	err := f.follow(ctx, &m)
	if err == nil && f.tombstones.Since(g.id, g.stamp) {
		err = tiers.ErrRevoked
	}
	if err == nil {
		f.moves.note(m)
		return nil
	}
	return f.undo(ctx, id, err)
}

// undo removes a session that must not live.
func (f *Maps) undo(ctx context.Context, id string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return errors.Join(err, f.core.RemoveAll(ctx, id))
}

// follow looks at the old id of a move, and commits its changes under the new one.
func (f *Maps) follow(ctx context.Context, m *move) error {
	now, err := f.look(ctx, m.from, m.carried, m.ttl)
	if err != nil || now == nil || now.Same(m.carried) {
		return err
	}
	data := now.Map()
	m.keep(data)
	delta, err := tiers.DeltaOf(m.carried, change.Compare(m.carried.Data(), data, f.hidden))
	if err != nil {
		return err
	}
	m.carried = now
	if delta.Empty() {
		return nil
	}
	_, err = f.core.Commit(ctx, m.to, delta.AsUrgent(), m.ttl)
	return err
}

// mostFollows bounds how often changes under an id that is about to end are taken along: a value that doesn't
// equal itself changes each time.
const mostFollows = 8

// end empties the old id of a move if all of its changes were taken along. Later commits under it are refused.
func (f *Maps) end(ctx context.Context, m *move) error {
	for range mostFollows {
		_, err := f.core.Commit(ctx, m.from, tiers.End(m.carried), m.ttl)
		if !errors.Is(err, tiers.ErrConflict) {
			return err
		}
		if err = f.follow(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAll removes the session. If it has just moved to another id, commits of any node under this id since
// then go there too, and later ones are refused. If another node has logged out under this id, the session
// under the new id is removed as well.
func (f *Maps) RemoveAll(ctx context.Context, id string) error {
	if m, ok := f.moves.take(id); ok {
		switch err := f.end(ctx, &m); {
		case errors.Is(err, tiers.ErrRevoked):
			f.Removed(id)
			return f.undo(ctx, m.to, err)
		case err != nil:
			f.moves.note(m) // to be called again
			return err
		}
	}
	if err := f.core.RemoveAll(ctx, id); err != nil {
		return err
	}
	f.Removed(id)
	return nil
}

// Removed is to be called after a RemoveAll of the session has succeeded. From then on, maps
// that were handed out before belong to the removed session.
func (f *Maps) Removed(id string) { f.tombstones.bury(id) }

// Empty makes the map of a direct store's session: it holds no data, and knows which
// session it stands for.
func (f *Maps) Empty(id string) *gmap.StrAnyMap {
	f.tombstones.expect(id)
	return f.newMap(given{id: id, base: nothing, stamp: f.tombstones.now()})
}

// Mark has a map that Empty made stand for another session; others are left alone, as
// they may be shared.
func (f *Maps) Mark(m *gmap.StrAnyMap, id string) {
	if h, g := f.knows(m); g != nil {
		f.tombstones.expect(id)
		h.given.Store(&given{id: id, base: nothing, stamp: f.tombstones.now(), held: g.held})
	}
}

// Marked returns the id that a map stands for, or "".
func (f *Maps) Marked(m *gmap.StrAnyMap) string {
	if m == nil {
		return ""
	}
	if _, g := f.knows(m); g != nil {
		return g.id
	}
	return ""
}

// LastChange is the change that the last close of a map has made, or was refused; nil if it isn't known.
func LastChange(m *gmap.StrAnyMap) *tiers.Delta {
	if h := originOf(m); h != nil {
		return h.now().change
	}
	return nil
}

// Revoked reports whether the session that a map stands for was removed since, by another
// caller than the map's holder, whose RemoveAll clears the map.
func (f *Maps) Revoked(m *gmap.StrAnyMap) bool {
	_, g := f.knows(m)
	if g == nil || !f.tombstones.Since(g.id, g.stamp) {
		return false
	}
	return sameMap(g.held, heldBy(m))
}

var nothing = tiers.Adopt(map[string]any{})
