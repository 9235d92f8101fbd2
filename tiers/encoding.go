package tiers

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/value"
)

// Previewer is the capability of a store that can tell, without being written to, how it
// would give values back.
type Previewer interface {
	// Preview returns the values as a Load gives them, or why they can't be stored. It doesn't
	// change what it is given, and what it returns may share values with that.
	Preview(data map[string]any) (map[string]any, error)
}

// Form tells how a store gives values back.
type Preview func(data map[string]any) (map[string]any, error)

// PreviewOf finds the store below s. Of a store that isn't known only texts are known to come
// back as they went in; it returns nil then.
func PreviewOf(s gsession.Storage) Preview {
	for l := range Layers(s) {
		switch store := l.(type) {
		case Previewer:
			return store.Preview
		case *gsession.StorageRedis, *gsession.StorageFile:
			return PreviewJSON
		case *gsession.StorageMemory:
			return previewMemory
		}
	}
	return nil
}

// PreviewJSON is the form of a store that keeps a session as a JSON object and reads its
// numbers as json.Number, as GoFrame's do. What can't be encoded fails here, and so does
// what could be written and never be read again.
func PreviewJSON(data map[string]any) (map[string]any, error) {
	formed, err := value.JSON(data)
	return formed, unkept(err)
}

// previewMemory is the form of a store that keeps Go values. Those of a delta are copies.
func previewMemory(data map[string]any) (map[string]any, error) { return data, nil }

// Previewed is the same delta with its values as the store will give them back, which are
// then also those that are written: a value whose encoding differs each time is encoded
// once. It fails where the store can't keep a value. Where the form isn't known, and nil,
// values other than texts stay as they are.
func (d *Delta) Previewed(preview Preview) (*Delta, error) {
	if d.formed {
		return d, nil
	}
	formed := *d
	formed.formed = true
	switch {
	case value.IsText(d.set):
	case preview == nil:
		return d, nil
	default:
		var err error
		if formed.set, err = preview(d.set); err != nil {
			return nil, err
		}
	}
	return &formed, nil
}

// Plain reports whether the delta sets only texts, numbers, booleans and times, which
// every store can keep in its way. A json.Number and a complex number are none: Redis'
// client can't send them.
func (d *Delta) Plain() bool {
	for _, v := range d.set {
		switch v.(type) {
		case json.Number, complex64, complex128:
			return false
		}
		if !value.IsScalar(v) {
			return false
		}
	}
	return true
}

// CanPreview reports whether Show can tell: whether Formed knew the store's form.
func (d *Delta) CanPreview() bool { return d.formed }

// Preview is the state that reads will answer once the delta is in the store, given what
// it holds now. A delta that will be refused shows no session.
func (d *Delta) Preview(current *Snapshot) *Snapshot {
	next, err := d.Apply(current)
	switch {
	case next != nil:
	case errors.Is(err, ErrRevoked):
		return nil
	default:
		return current
	}
	shown := Adopt(next)
	if current != nil {
		shown.expires, shown.known, shown.read = current.expires, current.known, current.read
	}
	return shown
}

// Size is the memory that the delta keeps, in bytes, about right.
func (d *Delta) Size() int64 {
	size := deltaBytes + value.MapSize(len(d.set))
	for key, v := range d.set {
		size += int64(len(key)) + value.Size(v)
	}
	for _, key := range d.removed {
		size += 16 + int64(len(key))
	}
	if d.base != nil {
		size += d.base.size
	}
	return size
}

// deltaBytes is a Delta itself, and what a queue keeps beside it.
const deltaBytes = 400

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
