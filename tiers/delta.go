package tiers

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/gogf/gf/v2/util/gconv"

	"github.com/gf-strata/strata/internal/value"
)

// Delta is what one request changed, to be applied to whatever the store holds by
// then (law 5). It is immutable, and shares nothing with the request, not even the bytes
// of a text: a delta, and the state that it leads to, are kept beyond the call.
//
// removals, where there are any, tell at the last moment whether the session was removed
// since base was handed out: a store that applies the delta after it looked at what it
// overwrites can't mix a new log-in with what was changed in the old one.
type Delta struct {
	kind     deltaKind
	base     *Snapshot // what the request was given, or what the store was last known to hold; nil unless kind is update
	had      bool      // the request was given keys
	set      map[string]any
	formed   bool // set holds what the store will give back
	removed  []string
	cleared  bool // the request removed every key that it was given
	inquires bool // see Inquiry
	urgent   bool // see Urgent
	apart    bool // see Apart
	removals []Removal

	conditional bool            // see Conditional
	guards      map[string]bool // see IfUnchanged
	marks       map[uint64]bool // of what base, which was read from a journal, doesn't hold; nil for a whole base
	sent        bool            // an attempt may have begun the session

	origin func(key string, value any) (any, error) // of a mapped delta: what marks are of
}

type deltaKind uint8

const (
	replaceDelta deltaKind = iota // the whole session, whatever the store holds
	addDelta                      // the request was told that there is no session
	updateDelta                   // the request was given base
	endDelta                      // the session ends if it is still base
)

// Replace is the delta of a map that no layer handed out: the session becomes data.
func Replace(data map[string]any) (*Delta, error) {
	set, err := value.OwnMap(data)
	if err != nil {
		return nil, unkept(err)
	}
	return &Delta{kind: replaceDelta, set: set}, nil
}

// Add is the delta of a request that was told that there is no session: its keys
// create one, or join what other requests have created meanwhile.
func Add(data map[string]any) (*Delta, error) {
	set, err := value.OwnMap(data)
	if err != nil {
		return nil, unkept(err)
	}
	return &Delta{kind: addDelta, set: set}, nil
}

// Keys is the delta of per-key writes on a direct store: no session is given for them,
// and they begin one where there is none.
func Keys(set map[string]any, removed []string) (*Delta, error) {
	isolated, err := value.OwnMap(set)
	if err != nil {
		return nil, unkept(err)
	}
	d := &Delta{kind: addDelta, set: isolated}
	for _, key := range removed {
		d.removed = append(d.removed, strings.Clone(key))
	}
	return d, nil
}

// Diff is the delta of a request that was given base and closes with data.
func Diff(base *Snapshot, data map[string]any) (*Delta, error) {
	d := &Delta{kind: updateDelta, base: base, had: base.Len() > 0}
	kept := 0
	for key, v := range data {
		before, had := base.data[key]
		if had {
			kept++
			if equal(before, v) {
				continue
			}
		}
		isolated, err := value.Own(v)
		if err != nil {
			return nil, unkept(err)
		}
		if d.set == nil {
			d.set = map[string]any{}
		}
		d.set[strings.Clone(key)] = isolated
	}
	d.cleared = kept == 0
	if kept == base.Len() {
		return d, nil
	}
	for key := range base.data {
		if _, kept := data[key]; !kept {
			d.removed = append(d.removed, key)
		}
	}
	return d, nil
}

// Inquiry is a delta that changes nothing, and is committed to learn what the store holds: a
// cache on the way may not know yet that it has changed.
func Inquiry(base *Snapshot) *Delta {
	return &Delta{kind: updateDelta, base: base, had: base.Len() > 0, inquires: true}
}

// End is the delta that empties a session if it is still what base holds: ErrConflict if it has
// changed since, and ErrRevoked if it is gone. An empty session is none for a request that holds
// keys of it, until RemoveAll follows.
func End(base *Snapshot) *Delta {
	return &Delta{kind: endDelta, base: base, had: base.Len() > 0, urgent: true}
}

// Removals knows which sessions were removed.
type Removals interface {
	// Since reports whether the session was removed after its clock showed stamp.
	Since(id string, stamp uint64) bool
}

// Removal is one that hadn't happened when its clock showed Stamp, and may have since.
type Removal struct {
	Of    Removals
	ID    string
	Stamp uint64
}

func (r Removal) happened() bool { return r.Of.Since(r.ID, r.Stamp) }

// Unless returns the same change, which is refused once the removal has happened.
func (d *Delta) Unless(r Removal) *Delta {
	c := *d
	c.removals = []Removal{r}
	return &c
}

// AsUrgent returns the same change, to be committed without delay; see [Delta.Urgent].
func (d *Delta) AsUrgent() *Delta {
	c := *d
	c.urgent = true
	return &c
}

// AsRecreating returns the same change of a session that has begun anew; see [Delta.Recreates].
func (d *Delta) AsRecreating() *Delta {
	c := *d
	c.apart = true
	return &c
}

// afterRemoval is the same change for a session that was removed since base was
// handed out: what the request set is a new session, if it let go of all that it
// had been given.
func (d *Delta) afterRemoval() (*Delta, error) {
	if d.kind != updateDelta {
		return d, nil
	}
	if !d.cleared {
		return nil, ErrRevoked
	}
	return &Delta{kind: addDelta, set: d.set, formed: d.formed}, nil
}

// Apply returns what the session becomes, given what the store holds (nil: no
// session). The map is new, its values are shared and must not be changed. Without a
// map there is nothing to write. A map beside ErrConflict is written, and the error
// returned then.
//
//   - A replacement is its data.
//   - An addition joins what is there.
//   - An update joins what is there. Where nothing is there, or an empty session,
//     although base had keys: ErrRevoked, unless the request removed every key that
//     it was given; then what it set is a new session.
//   - A conditional delta does so key by key; see [Delta.Conditional].
func (d *Delta) Apply(current *Snapshot) (map[string]any, error) {
	p, err := d.plan(current)
	switch {
	case p == nil:
		return nil, err
	case p.whole:
		return maps.Clone(p.set), err
	}
	next := current.clone()
	maps.Copy(next, p.set)
	for _, key := range p.removed {
		delete(next, key)
	}
	return next, err
}

// plan is what Apply does to a session.
type plan struct {
	whole   bool // what the store holds goes
	set     map[string]any
	removed []string
}

// plan is nil where there is nothing to write.
func (d *Delta) plan(current *Snapshot) (*plan, error) {
	if d.kind == endDelta {
		return d.planEnd(current)
	}
	if d.conditional {
		return d.planConditional(current)
	}
	if d.kind == replaceDelta {
		return &plan{whole: true, set: d.set}, nil
	}
	if d.isRevoked() {
		anew, err := d.afterRemoval()
		if err != nil || len(anew.set) == 0 {
			return nil, err
		}
		return anew.plan(current)
	}
	if d.isGone(current) {
		switch {
		case !d.cleared:
			return nil, ErrRevoked
		case len(d.set) == 0:
			return nil, nil
		}
	}
	return &plan{set: d.set, removed: d.removed}, nil
}

func (d *Delta) planEnd(current *Snapshot) (*plan, error) {
	switch {
	case current.Len() == 0 && d.conditional: // an earlier attempt's doing, most likely
		return nil, nil
	case current.Len() == 0:
		return nil, ErrRevoked
	case !current.Same(d.base):
		return nil, ErrConflict
	default:
		return &plan{whole: true, set: map[string]any{}}, nil
	}
}

// Conditional is the same change once an attempt may have reached the store, which held
// current then as far as is known (nil where it isn't, or held no session). It overwrites
// nothing newer, and begins no session a second time:
//
//   - A key is written where the store holds what the request had seen of it, or what
//     the attempt was made on. Where it holds what was to be written, that is done.
//     Every other key is left out, and Apply says ErrConflict. So it does of all keys
//     where the session has no value in common any more with the one it was.
//   - A session that the attempt may have begun is either there with all its keys, or
//     the answer is ErrConflict: it may have been removed meanwhile, or be another one's.
func (d *Delta) Conditional(current *Snapshot) *Delta {
	c := *d
	if !d.conditional && current.Len() > 0 && (d.kind == addDelta || d.kind == updateDelta) && !d.isRevoked() {
		c.kind, c.base, c.had = updateDelta, current, true
	}
	c.conditional, c.sent = true, true
	return &c
}

// IfUnchanged is the same change of a session that is there, if the store holds the given keys, which
// include those that it changes, as Base has them; none of it is done otherwise, and Apply says
// ErrConflict.
func (d *Delta) IfUnchanged(keys map[string]bool) *Delta {
	c := *d
	c.conditional, c.guards, c.urgent, c.cleared = true, keys, true, false
	return &c
}

// isGuarded reports whether a key that the delta depends on has changed. Once an attempt may
// have been applied, what it has written is no change.
func (d *Delta) isGuarded(current *Snapshot) bool {
	for key := range d.guards {
		now, has := current.data[key]
		switch {
		case d.sawLast(key, now, has):
		case d.sent && has && d.sets(key) && d.isOwn(key, now):
		case d.sent && !has && slices.Contains(d.removed, key):
		default:
			return true
		}
	}
	return false
}

func (d *Delta) planConditional(current *Snapshot) (*plan, error) {
	if current.Len() > 0 && d.guards != nil && d.isGuarded(current) {
		return nil, ErrConflict
	}
	begins := d.kind != updateDelta || !d.had || d.isRevoked()
	switch {
	case current.Len() > 0 && d.isDone(current):
		return nil, nil
	case current.Len() > 0 && (begins || !d.knows(current)):
		return nil, ErrConflict
	case current.Len() > 0:
		return d.planUntouched(current)
	case begins && !d.sent && d.kind != replaceDelta && !d.isRevoked(): // what a replacement was made on isn't known
		return &plan{whole: true, set: d.set}, nil
	case d.loaded() || d.isRevoked():
		return nil, ErrRevoked
	case len(d.set) == 0:
		return nil, nil
	default:
		return nil, ErrConflict
	}
}

// isDone reports whether the store holds what the delta was to make of the session.
func (d *Delta) isDone(current *Snapshot) bool {
	if d.kind == replaceDelta && len(d.set) != current.Len() {
		return false
	}
	for key := range d.set {
		if now, has := current.data[key]; !has || !d.isOwn(key, now) {
			return false
		}
	}
	for _, key := range d.removed {
		if _, has := current.data[key]; has {
			return false
		}
	}
	return true
}

// knows reports whether the store may still hold the session that the request was given:
// one that has no value in common with it, nor with what was to be written, has begun
// later under the same id.
func (d *Delta) knows(current *Snapshot) bool {
	for key, now := range current.data {
		if d.sawLast(key, now, true) || d.sets(key) && d.isOwn(key, now) {
			return true
		}
		if len(d.marks) > 0 {
			if d.origin != nil {
				now, _ = d.origin(key, now)
			}
			if mark, ok := markOf(key, now); ok && d.marks[mark] {
				return true
			}
		}
	}
	return false
}

func (d *Delta) sets(key string) bool {
	_, sets := d.set[key]
	return sets
}

// isOwn reports whether the store holds what the delta has written under a key.
func (d *Delta) isOwn(key string, now any) bool {
	own := d.set[key]
	if text, ok := now.(string); ok && !d.formed && value.IsScalar(own) {
		return text == gconv.String(own) // a store that keeps texts
	}
	return equal(now, own)
}

// planUntouched writes the keys that hold what the request had seen.
func (d *Delta) planUntouched(current *Snapshot) (_ *plan, err error) {
	p := &plan{set: map[string]any{}}
	for key := range d.set {
		now, has := current.data[key]
		switch {
		case has && d.isOwn(key, now):
		case d.sawLast(key, now, has):
			p.set[key] = d.set[key]
		default:
			err = ErrConflict
		}
	}
	for _, key := range d.removed {
		now, has := current.data[key]
		switch {
		case !has:
		case d.sawLast(key, now, has):
			p.removed = append(p.removed, key)
		default:
			err = ErrConflict
		}
	}
	if len(p.set)+len(p.removed) == 0 {
		p = nil
	}
	return p, err
}

// sawLast reports whether a key is as the request had seen it.
func (d *Delta) sawLast(key string, now any, has bool) bool {
	before, had := d.base.data[key]
	return has == had && (!has || equal(now, before))
}

// isGone reports whether a session that the request was given isn't there any more.
func (d *Delta) isGone(current *Snapshot) bool {
	return d.kind == updateDelta && d.had && (current.Len() == 0)
}

func (d *Delta) isRevoked() bool {
	for _, removal := range d.removals {
		if removal.happened() {
			return true
		}
	}
	return false
}

// Empty reports whether the request changed nothing.
func (d *Delta) Empty() bool {
	return d.kind == updateDelta && len(d.set) == 0 && len(d.removed) == 0 && !d.inquires
}

// Replaces reports whether the delta replaces the session whatever the store holds, so that
// a store needn't read it first.
func (d *Delta) Replaces() bool { return d.kind == replaceDelta && !d.conditional }

// NeedsCurrent reports whether what becomes of the delta depends on what the store holds, of which
// Base doesn't tell: a store reads it first.
func (d *Delta) NeedsCurrent() bool {
	return d.conditional && (d.kind != updateDelta || !d.had || d.marks != nil)
}

// Creates reports whether the delta may begin a session.
func (d *Delta) Creates() bool {
	return d.kind == replaceDelta || d.kind == addDelta || d.kind == updateDelta && !d.had
}

// Begins reports whether the delta may begin a session, and hasn't been sent to the store
// yet, as far as it knows.
func (d *Delta) Begins() bool { return (d.Creates() || d.cleared) && !d.sent }

// Recreates reports whether the session has begun anew under its id, so that a store which
// compares what it holds must tell the two apart where they are equal: a commit of the old
// one may still be on its way.
func (d *Delta) Recreates() bool { return d.apart }

// Urgent reports whether what follows depends on what the delta finds in the store, or leaves
// there, so that it isn't delayed.
func (d *Delta) Urgent() bool { return d.urgent || d.IsInquiry() }

// IsInquiry reports whether the delta is there to learn what the store holds.
func (d *Delta) IsInquiry() bool {
	return d.inquires && len(d.set) == 0 && len(d.removed) == 0
}

// Base is the snapshot that the request was given, nil where it was given none.
func (d *Delta) Base() *Snapshot { return d.base }

// After is the state of the map that the delta was made of, which isn't what the store holds: a
// key that another request added is no key that this one removed.
func (d *Delta) After() *Snapshot {
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

// Value answers what a key is after the delta, if it says so: nil for one that it
// removes.
func (d *Delta) Value(key string) (value any, known bool) {
	if value, known = d.set[key]; known && d.formed {
		return value, true
	}
	return nil, slices.Contains(d.removed, key)
}

// Changes is Apply for a store of single keys: the keys to write, and to remove. The map
// is the caller's alone, and nil where there is nothing to write.
func (d *Delta) Changes(current *Snapshot) (set map[string]any, removed []string, err error) {
	p, err := d.plan(current)
	if p == nil {
		return nil, nil, err
	}
	removed = p.removed
	if p.whole && current != nil {
		for key := range current.data {
			if _, kept := p.set[key]; !kept {
				removed = append(removed, key)
			}
		}
	}
	return Adopt(p.set).Map(), removed, err
}

// IsConditional reports whether the delta depends on what the store holds.
func (d *Delta) IsConditional() bool { return d.conditional }

// Set is what the request set. It must not be changed.
func (d *Delta) Set() map[string]any { return d.set }

// Removed are the keys that the request removed. It must not be changed.
func (d *Delta) Removed() []string { return d.removed }

// With is the same change that also sets a key to a text.
func (d *Delta) With(key, text string) *Delta {
	c := *d
	c.set = make(map[string]any, len(d.set)+1)
	maps.Copy(c.set, d.set)
	c.set[key] = text
	c.removed = slices.DeleteFunc(slices.Clone(d.removed), func(removed string) bool { return removed == key })
	return &c
}

// Without is the same change that also removes a key.
func (d *Delta) Without(key string) *Delta {
	c := *d
	c.set = maps.Clone(d.set)
	delete(c.set, key)
	if d.kind != replaceDelta && !slices.Contains(d.removed, key) {
		c.removed = append(slices.Clone(d.removed), key)
	}
	return &c
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

// MapValues returns the same change of a session whose values f maps to others; back is its
// inverse. f gives the same for the same key and value.
func (d *Delta) MapValues(f, back func(key string, value any) (any, error)) (*Delta, error) {
	mapped := *d
	var err error
	if mapped.set, err = mapValues(Adopt(d.set).Map(), f); err != nil {
		return nil, err
	}
	if mapped.base, err = d.base.MapValues(f); err != nil {
		return nil, err
	}
	mapped.formed, mapped.origin = false, back
	return &mapped, nil
}

// Merge is the delta that does what d and then later do, and whose outcome stands for
// both. Not all pairs have one: where the session is gone, an update is refused and an
// addition isn't.
func (d *Delta) Merge(later *Delta) (*Delta, bool) {
	switch {
	case d.kind != later.kind, d.conditional, later.conditional, d.kind == endDelta:
		return nil, false
	case d.kind == replaceDelta:
		return later, true
	case d.kind == updateDelta && (!d.loaded() || !later.loaded()), d.isRevoked() != later.isRevoked():
		return nil, false
	}
	joined := &Delta{kind: d.kind, base: d.base, had: d.had, formed: d.formed && later.formed}
	joined.set = overwrite(d.set, later.set, later.removed)
	joined.inquires = d.inquires || later.inquires
	joined.removals = joinRemovals(d.removals, later.removals)
	joined.removed = joinRemoved(d, later)
	return joined, true
}

// joinRemoved are the keys that one of the two removed and the later one hasn't set.
func joinRemoved(d, later *Delta) []string {
	if len(d.removed) == 0 {
		return later.removed
	}
	removed := map[string]bool{}
	for _, key := range d.removed {
		removed[key] = true
	}
	for key := range later.set {
		delete(removed, key)
	}
	for _, key := range later.removed {
		removed[key] = true
	}
	return slices.Collect(maps.Keys(removed))
}

// overwrite is a copy of set without what is removed and with what comes later.
func overwrite(set, later map[string]any, removed []string) map[string]any {
	next := make(map[string]any, len(set)+len(later))
	maps.Copy(next, set)
	for _, key := range removed {
		delete(next, key)
	}
	maps.Copy(next, later)
	return next
}

// joinRemovals are the removals that revoke either delta, one for each face that looks out
// for the session, however many deltas were joined.
func joinRemovals(some, more []Removal) []Removal {
	all := slices.Clone(some)
	for _, m := range more {
		same := func(r Removal) bool { return r.Of == m.Of && r.ID == m.ID }
		if n := slices.IndexFunc(all, same); n >= 0 {
			all[n].Stamp = min(all[n].Stamp, m.Stamp)
		} else {
			all = append(all, m)
		}
	}
	return all
}

// loaded reports whether the delta is refused where the session is gone.
func (d *Delta) loaded() bool { return d.kind == updateDelta && d.had && !d.cleared }

// Rebase is the same change, made by a request that was given another state: the one
// that the store is known to hold by now.
func (d *Delta) Rebase(current *Snapshot) *Delta {
	if !d.loaded() || d.conditional || current == nil || current.Len() == 0 {
		return d
	}
	moved := *d
	moved.base = current
	return &moved
}
