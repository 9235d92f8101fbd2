package tiers

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"slices"
)

// record is a delta as a journal keeps it, in JSON. Of the state that the request was
// given it holds the keys that the request changed, and marks of some others, by which the
// session is known again.
type record struct {
	Kind    deltaKind      `json:"kind"`
	Had     bool           `json:"had,omitempty"`
	Cleared bool           `json:"cleared,omitempty"`
	Set     map[string]any `json:"set,omitempty"`
	Removed []string       `json:"removed,omitempty"`
	Before  map[string]any `json:"before,omitempty"`
	Others  []uint64       `json:"others,omitempty"`
}

// mostMarks bounds the marks in a record.
const mostMarks = 16

// markOf is a mark of a key and its value, the same in every process.
func markOf(key string, value any) (mark uint64, ok bool) {
	content, err := json.Marshal(value)
	if err != nil {
		return 0, false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(content)
	return h.Sum64(), true
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
		for key, value := range d.base.data {
			if d.sets(key) || slices.Contains(d.removed, key) {
				r.Before[key] = value
			} else if mark, ok := markOf(key, value); ok && len(r.Others) < mostMarks {
				r.Others = append(r.Others, mark)
			}
		}
		for mark := range d.marks {
			r.Others = append(r.Others, mark)
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
// sent says that it may have begun its session.
func Restore(content []byte, sent bool) (*Delta, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&r); err != nil || r.Kind > updateDelta {
		return nil, errRestore
	}
	d := &Delta{kind: r.Kind, had: r.Had, cleared: r.Cleared, set: r.Set, removed: r.Removed, formed: true, conditional: true, sent: sent}
	if r.Kind == updateDelta {
		d.base, d.marks = Adopt(r.Before), map[uint64]bool{}
		for _, mark := range r.Others {
			d.marks[mark] = true
		}
	}
	return d, nil
}
