// Package load has what requests do in the bench, and checks every answer.
package load

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Shape is what a session holds. Every value of it begins with the session's own name,
// so that another session's data can't pass for it.
type Shape string

// The shapes. The sizes are those of the JSON, about.
const (
	TenKeys Shape = "ten keys" // ten short strings, 0.3 KiB
	TwoKiB  Shape = "2 KiB"
	Large   Shape = "64 KiB"
	Nested  Shape = "nested" // ten short strings, and a cart of three items
)

// Keys are those of every session.
var Keys = [...]string{"key0", "key1", "key2", "key3", "key4", "key5", "key6", "key7", "key8", "key9"}

// CartKey holds what is nested.
const CartKey = "cart"

const nameLen = 8 // of an id, and of each of its values, the first bytes are the name

// IDs are the ids of n sessions, other ones for each series.
func IDs(series, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = ID(series, i)
	}
	return ids
}

// ID is the id of one session, 32 bytes as GoFrame's are. The name counts up.
func ID(series, n int) string {
	name := uint64(series)<<26 | uint64(n)
	hash := (name + 1) * 0x9e3779b97f4a7c15
	hash ^= hash >> 29
	return fmt.Sprintf("%08x%016x%08x", name, hash*0xbf58476d1ce4e5b9, uint32(hash))
}

// Data is a session's values.
func (s Shape) Data(id string) map[string]any {
	data := make(map[string]any, len(Keys)+1)
	for _, key := range Keys {
		data[key] = Value(id, key) + strings.Repeat("=", s.padding())
	}
	if s == Nested {
		items := make([]any, 3)
		for n := range items {
			items[n] = map[string]any{"owner": id[:nameLen], "count": json.Number("2"), "tags": []any{"a", "b"}}
		}
		data[CartKey] = map[string]any{"items": items, "currency": "EUR"}
	}
	return data
}

// padding is what a value has beyond its name and key.
func (s Shape) padding() int {
	switch s {
	case TwoKiB:
		return 170
	case Large:
		return 6500
	}
	return 0
}

// Value is what a key holds before anybody has changed it, without the padding.
func Value(id, key string) string { return id[:nameLen] + "." + key + "." + id[nameLen:nameLen+6] }

// JSONSize is the size of the session in a JSON store, in bytes.
func (s Shape) JSONSize() int {
	text, err := json.Marshal(s.Data(ID(0, 0)))
	if err != nil {
		panic(err) // the shapes are all JSON
	}
	return len(text)
}
