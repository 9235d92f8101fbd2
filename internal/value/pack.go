package value

import (
	"encoding/binary"
	"encoding/json"
)

// A packed value is its kind, a length and what follows from them: the text of a string
// or a number, the elements of an array, the keys and values of an object. The lengths
// are varints of encoding/binary. It never leaves the process.
const (
	packedNil byte = iota
	packedFalse
	packedTrue
	packedText
	packedNumber
	packedArray
	packedObject
)

// maxPackedNesting keeps Unpack's recursion shallow.
const maxPackedNesting = 64

// Pack appends the values, in about a third of the memory that a map takes, behind a mark and a
// size that are the caller's. It is false for values that JSON doesn't decode to, as only the
// types that it does are distinguished.
func Pack(b []byte, mark string, size int64, data map[string]any) (_ []byte, ok bool) {
	return appendObject(binary.AppendUvarint(appendText(b, mark), uint64(size)), data, 0)
}

// Unpack returns the values that Pack has appended. Their texts are parts of packed. nested
// are the keys whose values a shallow copy would share.
func Unpack(packed string) (mark string, size int64, data map[string]any, nested []string) {
	p := unpacker{packed}
	mark, size = p.text(), int64(p.length())
	keys := p.length()
	data = make(map[string]any, keys)
	for range keys {
		key := p.text()
		if p.rest[0] >= packedArray {
			nested = append(nested, key)
		}
		data[key] = p.value()
	}
	return mark, size, data, nested
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendObject(b []byte, object map[string]any, depth int) (_ []byte, ok bool) {
	b = binary.AppendUvarint(b, uint64(len(object)))
	for key, value := range object {
		b = appendText(b, key)
		if b, ok = appendValue(b, value, depth); !ok {
			return b, false
		}
	}
	return b, true
}

func appendValue(b []byte, value any, depth int) (_ []byte, ok bool) {
	switch v := value.(type) {
	case nil:
		return append(b, packedNil), true
	case bool:
		if v {
			return append(b, packedTrue), true
		}
		return append(b, packedFalse), true
	case string:
		return appendText(append(b, packedText), v), true
	case json.Number:
		return appendText(append(b, packedNumber), string(v)), true
	case []any:
		if v == nil || depth == maxPackedNesting {
			return b, false
		}
		b = binary.AppendUvarint(append(b, packedArray), uint64(len(v)))
		for _, element := range v {
			if b, ok = appendValue(b, element, depth+1); !ok {
				return b, false
			}
		}
		return b, true
	case map[string]any:
		if v == nil || depth == maxPackedNesting {
			return b, false
		}
		return appendObject(append(b, packedObject), v, depth+1)
	}
	return b, false
}

// unpacker holds what is still to be read of a text that Pack made.
type unpacker struct{ rest string }

func (p *unpacker) length() int {
	var n uint64
	for shift := 0; ; shift += 7 {
		b := p.rest[0]
		p.rest = p.rest[1:]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int(n)
		}
	}
}

func (p *unpacker) text() string {
	n := p.length()
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text
}

func (p *unpacker) object() map[string]any {
	n := p.length()
	object := make(map[string]any, n)
	for range n {
		key := p.text()
		object[key] = p.value()
	}
	return object
}

func (p *unpacker) value() any {
	kind := p.rest[0]
	p.rest = p.rest[1:]
	switch kind {
	case packedFalse:
		return false
	case packedTrue:
		return true
	case packedText:
		return p.text()
	case packedNumber:
		return json.Number(p.text())
	case packedArray:
		array := make([]any, p.length())
		for n := range array {
			array[n] = p.value()
		}
		return array
	case packedObject:
		return p.object()
	}
	return nil
}
