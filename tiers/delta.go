package tiers

import (
	"maps"
	"reflect"
	"slices"
)

// Delta is what one request changed, to be applied to whatever the store holds by
// then (law 5). It is immutable, and shares nothing with the request.
//
// revoked, where it is set, tells at the last moment whether the session was removed
// since base was handed out: a store that applies the delta after it looked at what it
// overwrites can't mix a new log-in with what was changed in the old one.
type Delta struct {
	kind    deltaKind
	base    *Snapshot // what the request was given; nil unless kind is update
	set     map[string]any
	removed []string
	cleared bool // the request removed every key that it was given
	revoked func() bool
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

// Diff is the delta of a request that was given base and closes with data.
func Diff(base *Snapshot, data map[string]any) (*Delta, error) {
	d := &Delta{kind: updateDelta, base: base, cleared: true}
	for key, value := range data {
		before, had := base.data[key]
		if had {
			d.cleared = false
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
func (d *Delta) Apply(current *Snapshot) (map[string]any, error) {
	if d.kind == replaceDelta {
		return maps.Clone(d.set), nil
	}
	if d.isRevoked() {
		anew, err := d.afterRemoval()
		if err != nil || len(anew.set) == 0 {
			return nil, err
		}
		return anew.Apply(current)
	}
	gone := current == nil || current.Len() == 0
	if d.kind == updateDelta && gone && d.base.Len() > 0 {
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
	maps.Copy(next, d.set)
	for _, key := range d.removed {
		delete(next, key)
	}
	return next, nil
}

func (d *Delta) isRevoked() bool { return d.revoked != nil && d.revoked() }

// Empty reports whether the request changed nothing.
func (d *Delta) Empty() bool {
	return d.kind == updateDelta && len(d.set) == 0 && len(d.removed) == 0
}

// Whole reports whether the delta replaces the session, so that a store needn't
// read it first.
func (d *Delta) Whole() bool { return d.kind == replaceDelta }

// Base is the snapshot that the request was given, nil where it was given none.
func (d *Delta) Base() *Snapshot { return d.base }

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

// Join is the delta that does what d and then later do, and whose outcome stands for
// both. Not all pairs have one: where the session is gone, an update is refused and an
// addition isn't.
func (d *Delta) Join(later *Delta) (*Delta, bool) {
	switch {
	case d.kind != later.kind:
		return nil, false
	case d.kind == replaceDelta:
		return later, true
	case d.kind == updateDelta && (!d.loaded() || !later.loaded()), d.isRevoked() != later.isRevoked():
		return nil, false
	}
	joined := &Delta{kind: d.kind, base: later.base, set: maps.Clone(d.set)}
	if d.revoked != nil || later.revoked != nil {
		joined.revoked = func() bool { return d.isRevoked() || later.isRevoked() }
	}
	removed := map[string]bool{}
	for _, key := range d.removed {
		removed[key] = true
	}
	for _, key := range later.removed {
		removed[key] = true
		delete(joined.set, key)
	}
	for key, value := range later.set {
		delete(removed, key)
		if joined.set == nil {
			joined.set = map[string]any{}
		}
		joined.set[key] = value
	}
	joined.removed = slices.Collect(maps.Keys(removed))
	return joined, true
}

// loaded reports whether the delta is refused where the session is gone.
func (d *Delta) loaded() bool {
	return d.kind == updateDelta && d.base.Len() > 0 && !d.cleared
}
