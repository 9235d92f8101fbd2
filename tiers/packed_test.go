package tiers_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/gf-strata/strata/tiers"
)

// Whatever JSON decodes to is the same when it was packed, types included.
func FuzzPack(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"":""}`, `{"a":null,"b":true,"c":false,"d":"text","e":-1.5e300}`,
		`{"cart":[{"sku":"x","n":2},[],{},[null,[true]]],"user":{"name":"ü","roles":["a","b"]}}`,
		`{"long":"` + strings.Repeat("x", 300) + `"}`,
	} {
		f.Add(text, "")
	}
	f.Add(`{"a":1}`, "\x00version\xff")
	f.Fuzz(func(t *testing.T, text, version string) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var data map[string]any
		if decoder.Decode(&data) != nil || data == nil {
			t.Skip()
		}
		before := tiers.Adopt(data).Versioned(version)
		packed, ok := before.Pack(nil)
		if !ok {
			if strings.Count(text, "[")+strings.Count(text, "{") <= 64 {
				t.Fatal("not packed")
			}
			t.Skip()
		}
		after := tiers.Unpack(string(packed))
		if !after.Same(before) || after.Version() != version || after.Len() != len(data) || after.Size() != before.Size() {
			t.Error("another snapshot than before")
		}
		if !reflect.DeepEqual(after.Map(), data) {
			t.Error("other data than before")
		}
	})
}

// A value of a type that JSON doesn't decode to isn't packed, nested ones included.
func TestOtherTypesAreNotPacked(t *testing.T) {
	for name, value := range map[string]any{
		"int": 1, "float64": 1.5, "bytes": []byte("x"), "strings": []string{"x"}, "struct": struct{}{},
		"no array": []any(nil), "no object": map[string]any(nil),
		"nested": []any{map[string]any{"n": int64(1)}}, "deep": nest(100),
	} {
		if _, ok := tiers.Adopt(map[string]any{"text": "x", "k": value}).Pack(nil); ok {
			t.Errorf("%s was packed", name)
		}
	}
}

func nest(depth int) (value any) {
	value = "x"
	for range depth {
		value = []any{value}
	}
	return value
}

// It takes less than half of the memory, or it wouldn't pay.
func TestPackedIsSmall(t *testing.T) {
	data := map[string]any{}
	for _, key := range strings.Fields("user role locale theme csrf cart visits seen plan country") {
		data[key] = "value of " + key
	}
	s := tiers.Adopt(data)
	if packed, _ := s.Pack(nil); int64(2*len(packed)) > s.Size() {
		t.Errorf("%d bytes packed, %d as a map", len(packed), s.Size())
	}
}
