package tiers

import (
	"bytes"
	"encoding/json"
)

// record is a delta as a journal keeps it, in JSON. Of the state that the request was
// given it holds the keys that the request changed.
type record struct {
	Kind    deltaKind      `json:"kind"`
	Had     bool           `json:"had,omitempty"`
	Cleared bool           `json:"cleared,omitempty"`
	Set     map[string]any `json:"set,omitempty"`
	Removed []string       `json:"removed,omitempty"`
	Before  map[string]any `json:"before,omitempty"`
}

var (
	errRecord  = NewError("strata: a session value can't be kept in the journal: it can't be encoded as JSON", nil)
	errRestore = NewError("strata: a record of the journal is no change of a session", nil)
)

// MarshalJSON encodes the delta for [Restore].
func (d *Delta) MarshalJSON() ([]byte, error) {
	r := record{Kind: d.kind, Had: d.had, Cleared: d.cleared, Set: d.set, Removed: d.removed}
	if d.base != nil {
		r.Before = map[string]any{}
		for key := range d.set {
			if value, ok := d.base.data[key]; ok {
				r.Before[key] = value
			}
		}
		for _, key := range d.removed {
			if value, ok := d.base.data[key]; ok {
				r.Before[key] = value
			}
		}
	}
	content, err := json.Marshal(r)
	if err != nil {
		return nil, errRecord
	}
	return content, nil
}

// Restore is the delta that MarshalJSON has encoded. Time has passed since: it changes
// only keys that the store holds as the request had seen them, and is refused, as ever,
// where the session is gone.
func Restore(content []byte) (*Delta, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&r); err != nil || r.Kind > updateDelta {
		return nil, errRestore
	}
	d := &Delta{kind: r.Kind, had: r.Had, cleared: r.Cleared, set: r.Set, removed: r.Removed, restored: true}
	if r.Kind == updateDelta {
		d.base = Adopt(r.Before)
	}
	return d, nil
}

// restore applies a delta that was read from a journal.
func (d *Delta) restore(current *Snapshot) (map[string]any, error) {
	if d.isGone(current) && !d.cleared {
		return nil, ErrRevoked
	}
	next := map[string]any{}
	if current != nil {
		next = current.Map()
	}
	changed := current == nil && len(d.set) > 0
	for key, value := range d.set {
		if d.untouched(current, key) && !equal(next[key], value) {
			next[key], changed = value, true
		}
	}
	for _, key := range d.removed {
		if _, has := next[key]; has && d.untouched(current, key) {
			delete(next, key)
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	return next, nil
}

// untouched reports whether the store holds the key as the request had seen it.
func (d *Delta) untouched(current *Snapshot, key string) bool {
	var now, before any
	var has, had bool
	if current != nil {
		now, has = current.data[key]
	}
	if d.base != nil {
		before, had = d.base.data[key]
	}
	return has == had && (!has || equal(now, before))
}
