package tiers

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/gconv"
)

// Former is the capability of a store that can tell, without being written to, how it
// would give values back.
type Former interface {
	// Form answers the values with the types that a Load gives, or why they can't be
	// stored. What it answers is shared with nobody.
	Form(data map[string]any) (map[string]any, error)
}

// Form tells how a store gives values back.
type Form func(data map[string]any) (map[string]any, error)

// FormOf looks for the store below s. Of a store that nobody knows only texts are known
// to come back as they went in; it is nil then.
func FormOf(s gsession.Storage) Form {
	for {
		switch store := s.(type) {
		case Former:
			return store.Form
		case *gsession.StorageRedis, *gsession.StorageFile:
			return formJSON
		case *gsession.StorageMemory:
			return isolateMap
		}
		wrapper, ok := s.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return nil
		}
		s = wrapper.Unwrap()
	}
}

// formJSON is what GoFrame's stores do.
func formJSON(data map[string]any) (map[string]any, error) {
	content, err := json.Marshal(gconv.Map(data))
	if err != nil {
		return nil, redact("SetSession", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	formed := map[string]any{}
	if err := decoder.Decode(&formed); err != nil {
		return nil, redact("SetSession", err)
	}
	return formed, nil
}

// Formed is the same delta with the values that reads will answer once the store has
// taken it, so that Show can tell now. It fails where the store can't keep a value.
// The form may be nil.
func (d *Delta) Formed(form Form) (*Delta, error) {
	if d.formed != nil {
		return d, nil
	}
	known := *d
	if allText(d.set) {
		if known.formed = d.set; known.formed == nil {
			known.formed = map[string]any{}
		}
		return &known, nil
	}
	if form == nil {
		return d, nil
	}
	formed, err := form(d.set)
	if err != nil {
		return nil, err
	}
	known.formed = formed
	return &known, nil
}

// allText is about values that every store gives back as they are.
func allText(set map[string]any) bool {
	for _, value := range set {
		text, ok := value.(string)
		if !ok || !utf8.ValidString(text) {
			return false
		}
	}
	return true
}

// Plain reports whether the delta sets only texts, numbers, booleans and times, which
// every store can keep in its way.
func (d *Delta) Plain() bool {
	for _, value := range d.set {
		if !isScalar(value) {
			return false
		}
	}
	return true
}

// Shows reports whether Show can tell.
func (d *Delta) Shows() bool { return d.formed != nil }

// Show is the state that reads will answer once the delta is in the store, given what
// it holds now. A delta that will be refused shows no session.
func (d *Delta) Show(current *Snapshot) *Snapshot {
	next, err := d.apply(current, d.formed)
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
	size := deltaBytes + mapBytes(len(d.set))
	for key, value := range d.set {
		size += int64(len(key)) + sizeOf(value)
	}
	if d.formed != nil && !sameMap(d.formed, d.set) {
		size *= 2
	}
	for _, key := range d.removed {
		size += 2*wordBytes + int64(len(key))
	}
	if d.base != nil {
		size += d.base.size
	}
	return size
}

// deltaBytes is a Delta itself, and what a lane keeps beside it.
const deltaBytes = 400
