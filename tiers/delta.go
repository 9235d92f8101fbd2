package tiers

import (
	"maps"
	"reflect"
	"slices"
)

// Delta is what one request changed, to be applied to whatever the store holds by
// then (law 5). It is immutable, and shares nothing with the request.
//
// deaths, where there are any, tell at the last moment whether the session was removed
// since base was handed out: a store that applies the delta after it looked at what it
// overwrites can't mix a new log-in with what was changed in the old one.
type Delta struct {
	kind     deltaKind
	base     *Snapshot // what the request was given, or what the store was last known to hold; nil unless kind is update
	had      bool      // the request was given keys
	set      map[string]any
	formed   map[string]any // set, with the types in which the store gives it back; nil where that isn't known
	removed  []string
	cleared  bool // the request removed every key that it was given
	restored bool // read from a journal: whatever the store has got since is newer
	deaths   []death
}

type deltaKind uint8

const (
	replaceDelta deltaKind = iota // the whole session, whatever the store holds
	addDelta                      // the request was told that there is no session
	updateDelta                   // the request was given base
)

// Replace is the delta of a map that no layer handed out: the session becomes data.
func Replace(data map[string]any) (*Delta, error) {
	set, err := isolateMap(data)
	if err != nil {
		return nil, err
	}
	return &Delta{kind: replaceDelta, set: set}, nil
}

// Add is the delta of a request that was told that there is no session: its keys
// create one, or join what other requests have created meanwhile.
func Add(data map[string]any) (*Delta, error) {
	set, err := isolateMap(data)
	if err != nil {
		return nil, err
	}
	return &Delta{kind: addDelta, set: set}, nil
}

// Keys is the delta of per-key writes on a direct store: no session is given for them,
// and they begin one where there is none.
func Keys(set map[string]any, removed []string) (*Delta, error) {
	isolated, err := isolateMap(set)
	if err != nil {
		return nil, err
	}
	return &Delta{kind: addDelta, set: isolated, removed: removed}, nil
}

// Diff is the delta of a request that was given base and closes with data.
func Diff(base *Snapshot, data map[string]any) (*Delta, error) {
	d := &Delta{kind: updateDelta, base: base, had: base.Len() > 0}
	kept := 0
	for key, value := range data {
		before, had := base.data[key]
		if had {
			kept++
			if equal(before, value) {
				continue
			}
		}
		isolated, err := isolate(value)
		if err != nil {
			return nil, err
		}
		if d.set == nil {
			d.set = map[string]any{}
		}
		d.set[key] = isolated
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
	return &Delta{kind: addDelta, set: d.set}, nil
}

// Apply returns what the session becomes, given what the store holds (nil: no
// session). The map is new, its values are shared and must not be changed.
//
//   - A replacement is its data.
//   - An addition joins what is there.
//   - An update joins what is there. Where nothing is there, or an empty session,
//     although base had keys: ErrRevoked, unless the request removed every key that
//     it was given; then what it set is a new session, and a nil map says that it
//     set nothing and there is nothing to write.
//   - A delta that was restored does so where the store holds what the request had
//     seen, key by key, and leaves what differs, as that is newer.
func (d *Delta) Apply(current *Snapshot) (map[string]any, error) {
	return d.apply(current, d.set)
}

func (d *Delta) apply(current *Snapshot, set map[string]any) (map[string]any, error) {
	if d.restored {
		return d.restore(current)
	}
	if d.kind == replaceDelta {
		return maps.Clone(set), nil
	}
	if d.isRevoked() {
		anew, err := d.afterRemoval()
		if err != nil || len(anew.set) == 0 {
			return nil, err
		}
		return anew.apply(current, set)
	}
	if d.isGone(current) {
		switch {
		case !d.cleared:
			return nil, ErrRevoked
		case len(d.set) == 0:
			return nil, nil
		}
	}
	next := map[string]any{}
	if current != nil {
		next = maps.Clone(current.data)
	}
	maps.Copy(next, set)
	for _, key := range d.removed {
		delete(next, key)
	}
	return next, nil
}

// isGone reports whether a session that the request was given isn't there any more.
func (d *Delta) isGone(current *Snapshot) bool {
	return d.kind == updateDelta && d.had && (current == nil || current.Len() == 0)
}

func (d *Delta) isRevoked() bool {
	for _, death := range d.deaths {
		if death.happened() {
			return true
		}
	}
	return false
}

// Empty reports whether the request changed nothing.
func (d *Delta) Empty() bool {
	return d.kind == updateDelta && len(d.set) == 0 && len(d.removed) == 0
}

// Whole reports whether the delta replaces the session, so that a store needn't
// read it first.
func (d *Delta) Whole() bool { return d.kind == replaceDelta && !d.restored }

// Creates reports whether the delta may begin a session.
func (d *Delta) Creates() bool { return d.kind != updateDelta || !d.had }

// Inquires reports whether the delta is there to learn what the store holds, so that it
// isn't delayed.
func (d *Delta) Inquires() bool {
	return len(d.set) == 0 && len(d.removed) == 1 && d.removed[0] == inquiryKey
}

// Base is the snapshot that the request was given, nil where it was given none.
func (d *Delta) Base() *Snapshot { return d.base }

// Value answers what a key is after the delta, if it says so: nil for one that it
// removes.
func (d *Delta) Value(key string) (value any, known bool) {
	if value, known = d.formed[key]; known {
		return value, true
	}
	return nil, slices.Contains(d.removed, key)
}

// Against answers what the delta writes to a direct store, and removes from it: all
// that it says, and of a delta that was restored what the store's state leaves of it.
// The map is the caller's alone.
func (d *Delta) Against(load func() (*Snapshot, error)) (set map[string]any, removed []string, err error) {
	if !d.restored {
		return Adopt(d.set).Map(), d.removed, nil
	}
	current, err := load()
	if err != nil {
		return nil, nil, err
	}
	next, err := d.restore(current)
	if err != nil || next == nil {
		return nil, nil, err
	}
	set = map[string]any{}
	for key, value := range d.set {
		if after, ok := next[key]; ok && equal(after, value) {
			set[key] = mustIsolate(value)
		}
	}
	for _, key := range d.removed {
		if _, kept := next[key]; !kept {
			removed = append(removed, key)
		}
	}
	return set, removed, nil
}

// Set is what the request set. It must not be changed.
func (d *Delta) Set() map[string]any { return d.set }

// Removed are the keys that the request removed. It must not be changed.
func (d *Delta) Removed() []string { return d.removed }

// equal reports whether a close would write the value that was handed out.
func equal(a, b any) bool {
	if isScalar(a) && isScalar(b) {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}
