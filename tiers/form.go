package tiers

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/gogf/gf/v2/os/gsession"
)

// Former is the capability of a store that can tell, without being written to, how it
// would give values back.
type Former interface {
	// Form returns the values as a Load gives them, or why they can't be stored. It doesn't
	// change what it is given, and what it returns may share values with that.
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
			return FormJSON
		case *gsession.StorageMemory:
			return formMemory
		}
		wrapper, ok := s.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return nil
		}
		s = wrapper.Unwrap()
	}
}

// FormJSON is the form of a store that keeps a session as a JSON object and reads its
// numbers as json.Number, as GoFrame's do. What can't be encoded fails here, and so does
// what could be written and never be read again.
func FormJSON(data map[string]any) (map[string]any, error) {
	formed := make(map[string]any, len(data))
	var rest map[string]any // what needs JSON
	for key, value := range data {
		if !utf8.ValidString(key) { // it becomes another one, and perhaps one that is there
			rest = data
			break
		}
		switch v := value.(type) {
		case nil, bool:
			formed[key] = v
			continue
		case int:
			formed[key] = json.Number(strconv.Itoa(v))
			continue
		case int64:
			formed[key] = json.Number(strconv.FormatInt(v, 10))
			continue
		case string:
			if utf8.ValidString(v) {
				formed[key] = v
				continue
			}
		}
		if rest == nil {
			rest = map[string]any{}
		}
		rest[key] = value
	}
	if rest == nil {
		return formed, nil
	}
	content, err := json.Marshal(rest)
	if err != nil {
		return nil, encodeFault(err)
	}
	if len(rest) == len(data) {
		clear(formed)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&formed); err != nil {
		return nil, errDeep // which a decoder refuses and an encoder doesn't
	}
	return formed, nil
}

// encodeFault keeps the value, which json's own texts may quote, out of the text.
func encodeFault(err error) error {
	const encoding = "strata: a session value can't be encoded as JSON: "
	var (
		kind  *json.UnsupportedTypeError
		value *json.UnsupportedValueError
	)
	switch {
	case errors.As(err, &kind):
		return NewError(encoding+"it is, or holds, a channel, a function, a complex number or a map whose keys aren't text or integers", err)
	case errors.As(err, &value):
		return NewError(encoding+"it is, or holds, NaN, an infinity or itself", err)
	default:
		return NewError(encoding+"its own MarshalJSON or MarshalText failed", err)
	}
}

// formMemory is the form of a store that keeps Go values. Those of a delta are copies.
func formMemory(data map[string]any) (map[string]any, error) { return data, nil }

// Formed is the same delta with its values as the store will give them back, which are
// then also those that are written: a value whose encoding differs each time is encoded
// once. It fails where the store can't keep a value. Where the form isn't known, and nil,
// values other than texts stay as they are.
func (d *Delta) Formed(form Form) (*Delta, error) {
	if d.formed {
		return d, nil
	}
	formed := *d
	formed.formed = true
	switch {
	case allText(d.set):
	case form == nil:
		return d, nil
	default:
		var err error
		if formed.set, err = form(d.set); err != nil {
			return nil, err
		}
	}
	return &formed, nil
}

// allText is about values that every store gives back as they are.
func allText(set map[string]any) bool {
	for key, value := range set {
		text, ok := value.(string)
		if !ok || !utf8.ValidString(text) || !utf8.ValidString(key) {
			return false
		}
	}
	return true
}

// Plain reports whether the delta sets only texts, numbers, booleans and times, which
// every store can keep in its way. A json.Number and a complex number are none: Redis'
// client can't send them.
func (d *Delta) Plain() bool {
	for _, value := range d.set {
		switch value.(type) {
		case json.Number, complex64, complex128:
			return false
		}
		if !isScalar(value) {
			return false
		}
	}
	return true
}

// Shows reports whether Show can tell: whether Formed knew the store's form.
func (d *Delta) Shows() bool { return d.formed }

// Show is the state that reads will answer once the delta is in the store, given what
// it holds now. A delta that will be refused shows no session.
func (d *Delta) Show(current *Snapshot) *Snapshot {
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
	size := deltaBytes + mapBytes(len(d.set))
	for key, value := range d.set {
		size += int64(len(key)) + sizeOf(value)
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
