// Package change is the one rule by which what a request changed is applied to what the store
// holds by then (laws 5 and 6): that of tiers.Delta, on plain maps.
package change

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/gogf/gf/v2/errors/gcode"
	"github.com/gogf/gf/v2/errors/gerror"
	"github.com/gogf/gf/v2/util/gconv"

	"github.com/gf-strata/strata/internal/value"
)

// ErrRevoked and ErrConflict are those of package tiers, which says when they are returned.
var (
	ErrRevoked error = gerror.NewWithOption(gerror.Option{
		Text: "strata: the session was removed while this request held it; nothing was written",
		Code: gcode.CodeInvalidOperation,
	})
	ErrConflict error = gerror.NewWithOption(gerror.Option{
		Text: "strata: it isn't known whether this change was applied, and the session has changed since; " +
			"what would overwrite something newer was left out",
		Code: gcode.CodeInvalidOperation,
	})
)

// Kind says what a request knew of its session.
type Kind uint8

const (
	Replace Kind = iota // the whole session, whatever the store holds
	Add                 // there was no session
	Update              // it was Base
	End                 // the session ends if it is still Base
)

// Change holds one request's changes of a session. Its maps and slices aren't written once it is made.
//
// Removals, if there are any, say at the last moment whether the session was removed since Base
// was handed out: a store that applies the change after it looked at what it overwrites can't mix
// a new log-in with what was changed in the old one.
type Change struct {
	Kind        Kind
	Had         bool // the request was given keys
	Cleared     bool // the request removed every key that it was given
	Previewed   bool // Set holds what the store will give back
	Conditional bool // it overwrites only what is as the request had seen it
	Sent        bool // an attempt may have begun the session

	Base    map[string]any // what the request was given, or what the store was last known to hold; of Update and End
	Set     map[string]any
	Removed []string

	Guards   map[string]bool // keys that must be as in Base, or nothing is done
	Removals []Removal

	Marks map[uint64]bool // of keys that a Base from a journal doesn't hold; nil if Base is whole
	// Origin returns the value that a mark is of, for a change whose values were mapped.
	Origin func(key string, value any) (any, error)
}

// Removals knows which sessions were removed, by hashes of its own of their ids.
type Removals interface {
	// Removed reports whether the session was removed after its clock showed stamp.
	Removed(hash, stamp uint64) bool
}

// Removal is a removal of a session that hadn't happened when its clock showed Stamp, and may have since.
type Removal struct {
	Of          Removals
	Hash, Stamp uint64
}

// Difference is the difference between a request's map and the state that it was given. It is found without
// calling a method of a value, so that it may be made while the request's map is locked.
type Difference struct {
	base    map[string]any
	set     map[string]any // values of the request's map that may differ
	removed []string
	kept    int
}

// Compare compares what a request was given with what it closes with. The request wasn't shown the hidden
// key, "" for none, which stays as long as another key of base does.
func Compare(base, data map[string]any, hidden string) Difference {
	d := Difference{base: base}
	for key, v := range data {
		if hidden != "" && key == hidden {
			continue
		}
		before, had := base[key]
		if had {
			d.kept++
			if value.IsScalar(v) && equal(before, v) {
				continue
			}
		}
		if d.set == nil {
			d.set = map[string]any{}
		}
		d.set[key] = v
	}
	if d.kept == len(base) {
		return d
	}
	for key := range base {
		_, kept := data[key]
		if hidden != "" && key == hidden {
			kept = d.kept > 0
		}
		if !kept {
			d.removed = append(d.removed, key)
		}
	}
	return d
}

// Change is the change of the request, which shares nothing with it. It is called once.
func (d Difference) Change() (Change, error) {
	for key, v := range d.set {
		if before, had := d.base[key]; had && equal(before, v) {
			delete(d.set, key)
			continue
		}
		isolated, err := value.Own(v)
		if err != nil {
			return Change{}, err
		}
		d.set[strings.Clone(key)] = isolated // an assignment replaces the key as well
	}
	return Change{Kind: Update, Base: d.base, Had: len(d.base) > 0, Set: d.set, Removed: d.removed, Cleared: d.kept == 0}, nil
}

// Plan is the effect of a Change on a session, none for the zero value.
type Plan struct {
	Writes  bool
	Whole   bool // the store's other keys go
	Set     map[string]any
	Removed []string
}

// Plan returns what to write, given what the store holds, an empty map for no session. A
// plan that writes beside ErrConflict is carried out, and the error returned then.
func (c *Change) Plan(current map[string]any) (Plan, error) {
	if c.Kind == End {
		return c.planEnd(current)
	}
	if c.Conditional {
		return c.planConditional(current)
	}
	if c.Kind == Replace {
		return Plan{Writes: true, Whole: true, Set: c.Set}, nil
	}
	plan := Plan{Writes: true, Set: c.Set, Removed: c.Removed}
	if c.Kind == Add {
		return plan, nil
	}
	revoked := c.IsRevoked()
	switch gone := revoked || c.Had && len(current) == 0; { // the session that the request was given
	case !gone:
		return plan, nil
	case !c.Cleared:
		return Plan{}, ErrRevoked
	case len(c.Set) == 0:
		return Plan{}, nil
	case revoked: // what is there now is another session, which what was set joins
		return Plan{Writes: true, Set: c.Set}, nil
	default:
		return plan, nil
	}
}

func (c *Change) planEnd(current map[string]any) (Plan, error) {
	switch {
	case len(current) == 0 && c.Conditional: // an earlier attempt's doing, most likely
		return Plan{}, nil
	case len(current) == 0:
		return Plan{}, ErrRevoked
	case !reflect.DeepEqual(current, c.Base):
		return Plan{}, ErrConflict
	default:
		return Plan{Writes: true, Whole: true, Set: map[string]any{}}, nil
	}
}

func (c *Change) planConditional(current map[string]any) (Plan, error) {
	if len(current) > 0 && c.guardsChanged(current) {
		return Plan{}, ErrConflict
	}
	revoked := c.IsRevoked()
	begins := c.Kind != Update || !c.Had || revoked
	switch {
	case len(current) > 0 && c.isDone(current):
		return Plan{}, nil
	case len(current) > 0 && (begins || !c.knows(current)):
		return Plan{}, ErrConflict
	case len(current) > 0:
		return c.planUntouched(current)
	case begins && !c.Sent && c.Kind != Replace && !revoked: // what a replacement was made on isn't known
		return Plan{Writes: true, Whole: true, Set: c.Set}, nil
	case c.NeedsSession() || revoked:
		return Plan{}, ErrRevoked
	case len(c.Set) == 0:
		return Plan{}, nil
	default:
		return Plan{}, ErrConflict
	}
}

// guardsChanged reports whether a key that the change depends on has changed. Once an attempt may
// have been applied, what it has written is no change.
func (c *Change) guardsChanged(current map[string]any) bool {
	for key := range c.Guards {
		now, has := current[key]
		switch {
		case c.sawLast(key, now, has):
		case c.Sent && has && c.isOwn(key, now):
		case c.Sent && !has && slices.Contains(c.Removed, key):
		default:
			return true
		}
	}
	return false
}

// isDone reports whether the store holds what the change was to make of the session.
func (c *Change) isDone(current map[string]any) bool {
	if c.Kind == Replace && len(c.Set) != len(current) {
		return false
	}
	for key := range c.Set {
		if now, has := current[key]; !has || !c.isOwn(key, now) {
			return false
		}
	}
	for _, key := range c.Removed {
		if _, has := current[key]; has {
			return false
		}
	}
	return true
}

// knows reports whether the store may still hold the session that the request was given:
// one that has no value in common with it, nor with what was to be written, has begun
// later under the same id.
func (c *Change) knows(current map[string]any) bool {
	for key, now := range current {
		if c.sawLast(key, now, true) || c.isOwn(key, now) {
			return true
		}
		if len(c.Marks) > 0 {
			if c.Origin != nil {
				now, _ = c.Origin(key, now)
			}
			if mark, ok := markOf(key, now); ok && c.Marks[mark] {
				return true
			}
		}
	}
	return false
}

// isOwn reports whether the store holds what the change has written under a key.
func (c *Change) isOwn(key string, now any) bool {
	own, sets := c.Set[key]
	if !sets {
		return false
	}
	if text, ok := now.(string); ok && !c.Previewed && value.IsScalar(own) {
		return text == gconv.String(own) // a store that keeps texts
	}
	return equal(now, own)
}

// planUntouched writes the keys that hold what the request had seen.
func (c *Change) planUntouched(current map[string]any) (p Plan, err error) {
	p.Set = map[string]any{}
	for key := range c.Set {
		now, has := current[key]
		switch {
		case has && c.isOwn(key, now):
		case c.sawLast(key, now, has):
			p.Set[key] = c.Set[key]
		default:
			err = ErrConflict
		}
	}
	for _, key := range c.Removed {
		now, has := current[key]
		switch {
		case !has:
		case c.sawLast(key, now, has):
			p.Removed = append(p.Removed, key)
		default:
			err = ErrConflict
		}
	}
	p.Writes = len(p.Set)+len(p.Removed) > 0
	return p, err
}

// sawLast reports whether a key is as the request had seen it.
func (c *Change) sawLast(key string, now any, has bool) bool {
	before, had := c.Base[key]
	return has == had && (!has || equal(now, before))
}

// IsRevoked reports whether one of the removals has happened.
func (c *Change) IsRevoked() bool {
	return slices.ContainsFunc(c.Removals, func(r Removal) bool { return r.Of.Removed(r.Hash, r.Stamp) })
}

// NeedsSession reports whether the change is refused if the session is gone.
func (c *Change) NeedsSession() bool { return c.Kind == Update && c.Had && !c.Cleared }

// Merge is the change that does what c and then later do, and whose outcome stands for
// both. Not all pairs have one: of a session that is gone, an update is refused and an
// addition isn't.
func (c *Change) Merge(later *Change) (Change, bool) {
	switch {
	case c.Kind != later.Kind, c.Conditional, later.Conditional, c.Kind == End:
		return Change{}, false
	case c.Kind == Replace:
		return *later, true
	case c.Kind == Update && (!c.NeedsSession() || !later.NeedsSession()), c.IsRevoked() != later.IsRevoked():
		return Change{}, false
	}
	return Change{
		Kind: c.Kind, Base: c.Base, Had: c.Had, Previewed: c.Previewed && later.Previewed,
		Set:      overwrite(c.Set, later.Set, later.Removed),
		Removed:  mergeRemoved(c, later),
		Removals: mergeRemovals(c.Removals, later.Removals),
	}, true
}

// overwrite is set without what is removed and with what comes later. It may be later itself.
func overwrite(set, later map[string]any, removed []string) map[string]any {
	if covers(later, set) {
		return later
	}
	next := maps.Clone(set)
	for _, key := range removed {
		delete(next, key)
	}
	maps.Copy(next, later)
	return next
}

// covers reports whether a map has all keys of another one.
func covers(m, other map[string]any) bool {
	if len(m) < len(other) {
		return false
	}
	for key := range other {
		if _, has := m[key]; !has {
			return false
		}
	}
	return true
}

// mergeRemoved are the keys that one of the two removed and the later one hasn't set.
func mergeRemoved(c, later *Change) []string {
	if len(c.Removed) == 0 {
		return later.Removed
	}
	removed := map[string]bool{}
	for _, key := range c.Removed {
		removed[key] = true
	}
	for key := range later.Set {
		delete(removed, key)
	}
	for _, key := range later.Removed {
		removed[key] = true
	}
	return slices.Collect(maps.Keys(removed))
}

// mergeRemovals are the removals that revoke either change, one for each chain that looks out
// for the session, however many changes were merged.
func mergeRemovals(some, more []Removal) []Removal {
	all := some // shared with the change that it is of, as long as it stays the same
	for _, m := range more {
		n := slices.IndexFunc(all, func(r Removal) bool { return r.Of == m.Of && r.Hash == m.Hash })
		switch {
		case n < 0:
			all = append(slices.Clip(all), m)
		case m.Stamp < all[n].Stamp:
			all = slices.Clone(all)
			all[n].Stamp = m.Stamp
		}
	}
	return all
}

// equal reports whether a close would write the value that was handed out.
func equal(a, b any) bool {
	if value.IsScalar(a) && value.IsScalar(b) {
		return a == b || isNaN(a) && isNaN(b)
	}
	return reflect.DeepEqual(a, b)
}

// isNaN is about what doesn't equal itself.
func isNaN(v any) bool {
	switch f := v.(type) {
	case float64:
		return math.IsNaN(f)
	case float32:
		return math.IsNaN(float64(f))
	}
	return false
}
