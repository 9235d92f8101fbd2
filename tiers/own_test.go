package tiers

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// within reports whether a text that a value refers to is a part of the whole.
func within(whole string, v reflect.Value) bool {
	begin := uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	switch v.Kind() {
	case reflect.String:
		at := uintptr(unsafe.Pointer(unsafe.StringData(v.String())))
		return v.Len() > 0 && begin <= at && at < begin+uintptr(len(whole))
	case reflect.Interface, reflect.Pointer:
		return !v.IsNil() && within(whole, v.Elem())
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if within(whole, entries.Key()) || within(whole, entries.Value()) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for n := range v.Len() {
			if within(whole, v.Index(n)) {
				return true
			}
		}
	case reflect.Struct:
		for n := range v.NumField() {
			if within(whole, v.Field(n)) {
				return true
			}
		}
	}
	return false
}

type role string

// A value of a form is a part of the whole body. A delta that kept it would keep the body.
func TestDeltaOwnsItsTexts(t *testing.T) {
	body := strings.Repeat("0123456789", 1000)
	part := func(n int) string { return body[10*n : 10*n+10] }
	base := Adopt(map[string]any{"kept": "value", "gone": "value"})
	data := map[string]any{
		"kept": "value", part(1): 1, "text": part(2), "number": json.Number(part(3)), "role": role(part(4)),
		"map": map[string]any{part(5): part(6)}, "list": []any{part(7), map[string]any{part(8): nil}},
		"texts": []string{part(9)}, "roles": map[role]role{role(part(10)): role(part(11))},
		"struct": struct{ Name *string }{&[]string{part(12)}[0]}, "any": map[any]any{part(13): part(14)},
		"deep": []any{[]any{struct{ Names []string }{[]string{part(15)}}}}, "array": [1]string{part(16)},
	}
	if !within(body, reflect.ValueOf(data)) {
		t.Fatal("the test sees nothing")
	}
	for name, make := range map[string]func() (*Delta, error){
		"replace": func() (*Delta, error) { return Replace(data) },
		"add":     func() (*Delta, error) { return Add(data) },
		"diff":    func() (*Delta, error) { return Diff(base, data) },
	} {
		d, err := make()
		if err != nil {
			t.Fatal(name, err)
		}
		for key, value := range d.Set() {
			if within(body, reflect.ValueOf(key)) || within(body, reflect.ValueOf(value)) {
				t.Errorf("%s: %q is a part of the request", name, key)
			}
			if want, ok := data[key]; !ok || !reflect.DeepEqual(value, want) && key != "struct" {
				t.Errorf("%s: %q is %v, want %v", name, key, value, want)
			}
		}
		if within(body, reflect.ValueOf(d.Removed())) {
			t.Errorf("%s: what it removes is a part of the request", name)
		}
		if name != "diff" && len(d.Set()) != len(data) {
			t.Errorf("%s: %d keys", name, len(d.Set()))
		}
	}
}

// A packed session is one text. After a change, the values that stay mustn't keep the whole text.
func TestChangeOfUnpackedOwnsItsTexts(t *testing.T) {
	before := Adopt(map[string]any{"small": "a text", "large": strings.Repeat("x", 10_000), "list": []any{"another"}})
	b, ok := before.Pack(nil)
	if !ok {
		t.Fatal("can't be packed")
	}
	packed := string(b)
	woken := Unpack(packed).Anew()
	if !within(packed, reflect.ValueOf(woken.data)) {
		t.Fatal("the test sees nothing")
	}
	changed := woken.Map()
	delete(changed, "large")
	d, err := Diff(woken, changed)
	if err != nil {
		t.Fatal(err)
	}
	d, err = d.Previewed(PreviewJSON)
	if err != nil {
		t.Fatal(err)
	}
	next, err := d.Apply(woken)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string]map[string]any{"applied": next, "shown": d.Preview(woken, false).data} {
		if within(packed, reflect.ValueOf(data)) {
			t.Errorf("what is %s keeps the whole", what)
		}
		if keys := slices.Sorted(maps.Keys(data)); !slices.Equal(keys, []string{"list", "small"}) || data["small"] != "a text" {
			t.Errorf("%s: %v", what, data)
		}
	}
}
