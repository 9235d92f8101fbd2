package value

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// These are the sizes of Go 1.25 on 64 bits; TestSizeIsAboutRight holds them against the heap.
const (
	wordBytes    = 8
	boxBytes     = 16 // a string's header behind an interface
	slotBytes    = 16 + 16
	mapHeadBytes = 48
)

// MapSize is the size of a map[string]any without what keys and values refer to.
func MapSize(n int) int64 { return mapOf(n, slotBytes) }

// mapOf is the size of a map: groups of eight slots, at most seven eighths full past
// the first.
func mapOf(n int, slot int64) int64 {
	slots := 8
	for n > 8 && n > slots*7/8 {
		slots *= 2
	}
	return mapHeadBytes + int64(slots)*(slot+1)
}

// Size is the memory behind one value, beside the interface that holds it.
func Size(value any) int64 {
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
		size := MapSize(len(v))
		for key, element := range v {
			size += int64(len(key)) + Size(element)
		}
		return size
	case []any:
		size := int64(24 + 16*len(v))
		for _, element := range v {
			size += Size(element)
		}
		return size
	}
	if IsScalar(value) {
		return wordBytes
	}
	return reflectSize(reflect.ValueOf(value), 0, false)
}

// reflectSize follows other types eight levels down, which is enough to be about
// right. Unexported fields may refer to what another goroutine is writing; whole is for
// GoFrame's containers, which are copied with them.
func reflectSize(v reflect.Value, depth int, whole bool) int64 {
	if !v.IsValid() || depth > 8 {
		return wordBytes
	}
	size := int64(v.Type().Size())
	behind := func(part reflect.Value) int64 {
		return reflectSize(part, depth+1, whole) - int64(part.Type().Size())
	}
	switch v.Kind() {
	case reflect.String:
		size += int64(v.Len())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			whole = whole || strings.HasPrefix(v.Elem().Type().PkgPath(), "github.com/gogf/gf/v2/")
			size += reflectSize(v.Elem(), depth+1, whole)
		}
	case reflect.Array:
		if !isPlain(v.Type().Elem().Kind()) {
			for n := range v.Len() {
				size += behind(v.Index(n))
			}
		}
	case reflect.Slice:
		size += int64(v.Len()) * int64(v.Type().Elem().Size())
		if !isPlain(v.Type().Elem().Kind()) {
			for n := range v.Len() {
				size += behind(v.Index(n))
			}
		}
	case reflect.Map:
		size += mapOf(v.Len(), int64(v.Type().Key().Size()+v.Type().Elem().Size()))
		for entries := v.MapRange(); entries.Next(); {
			size += behind(entries.Key()) + behind(entries.Value())
		}
	case reflect.Struct:
		for n := range v.NumField() {
			if field := v.Type().Field(n); whole || field.IsExported() || field.Anonymous && field.Type.Kind() == reflect.Struct {
				size += behind(v.Field(n))
			}
		}
	}
	return size
}
