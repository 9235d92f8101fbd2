package tiers

import (
	"encoding/json"
	"reflect"
	"time"
)

// What Go 1.25 on 64 bits takes; TestSizeIsAboutRight holds them against the heap.
const (
	snapshotBytes = 128
	wordBytes     = 8
	boxBytes      = 16 // a string's header behind an interface
	slotBytes     = 16 + 16
	groupBytes    = 8 * (slotBytes + 1)
	mapHeadBytes  = 48
)

// mapBytes is the size of a map[string]any without what keys and values refer to:
// groups of eight slots, at most seven eighths full past the first.
func mapBytes(n int) int64 {
	slots := 8
	for n > 8 && n > slots*7/8 {
		slots *= 2
	}
	return mapHeadBytes + int64(slots/8)*groupBytes
}

// sizeOf is the memory behind one value, beside the interface that holds it.
func sizeOf(value any) int64 {
	switch v := value.(type) {
	case nil, bool:
		return 0
	case string:
		return boxBytes + int64(len(v))
	case json.Number:
		return boxBytes + int64(len(v))
	case time.Time:
		return 24
	case map[string]any:
		size := mapBytes(len(v))
		for key, element := range v {
			size += int64(len(key)) + sizeOf(element)
		}
		return size
	case []any:
		size := int64(24 + 16*len(v))
		for _, element := range v {
			size += sizeOf(element)
		}
		return size
	}
	if isScalar(value) {
		return wordBytes
	}
	return reflectSize(reflect.ValueOf(value), 0)
}

// reflectSize follows other types eight levels down, which is enough to be about
// right.
func reflectSize(v reflect.Value, depth int) int64 {
	if !v.IsValid() || depth > 8 {
		return wordBytes
	}
	size := int64(v.Type().Size())
	switch v.Kind() {
	case reflect.String:
		size += int64(v.Len())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			size += reflectSize(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if isPlain(v.Type().Elem().Kind()) {
			return size + int64(v.Len())*int64(v.Type().Elem().Size())
		}
		for n := range v.Len() {
			size += reflectSize(v.Index(n), depth+1)
		}
	case reflect.Map:
		size += mapBytes(v.Len())
		for entries := v.MapRange(); entries.Next(); {
			size += reflectSize(entries.Key(), depth+1) + reflectSize(entries.Value(), depth+1)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			size += reflectSize(v.Field(n), depth+1) - int64(v.Field(n).Type().Size())
		}
	}
	return size
}
