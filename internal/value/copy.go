package value

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/gogf/gf/v2/container/garray"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/container/gvar"
)

// maxNesting is the depth at which encoding/json gives up as well.
const maxNesting = 10_000

// watchNesting is the depth from which containers on the path are remembered, to
// distinguish a value that contains itself from one that is deep.
const watchNesting = 32

var (
	errCyclic = &Error{Text: "strata: a session value contains itself; store values that JSON can encode"}
	errDeep   = &Error{Text: "strata: a session value is nested more than 10,000 deep; store it flatter"}
)

// deepCopier is implemented by GoFrame's containers.
type deepCopier interface{ DeepCopy() any }

// IsScalar reports whether a copy of the interface is a copy of the value.
func IsScalar(value any) bool {
	switch value.(type) {
	case nil, string, bool, json.Number,
		int, int8, int16, int32, int64,
		uint, uint8, uint16, uint32, uint64,
		float32, float64, complex64, complex128,
		time.Time, time.Duration:
		return true
	}
	return false
}

// CopyMap copies a session that a store holds or hands out.
func CopyMap(data map[string]any) (map[string]any, error) {
	var i copier
	return i.whole(data)
}

// OwnMap also copies the texts, for what is kept beyond the call: a form's value is a part
// of the whole body.
func OwnMap(data map[string]any) (map[string]any, error) {
	i := copier{texts: true}
	return i.whole(data)
}

// Copy copies a value with all that it refers to. Channels, functions and what
// unexported fields refer to can't be copied and stay shared.
func Copy(value any) (any, error) {
	var i copier
	return i.copy(value, 0)
}

// Own is Copy that also copies the texts.
func Own(value any) (any, error) {
	if c, ok := ownScalar(value); ok {
		return c, nil
	}
	i := copier{texts: true}
	return i.copy(value, 0)
}

// MustCopy copies a value that has been copied before, which can't fail.
func MustCopy(value any) any {
	c, err := Copy(value)
	if err != nil {
		panic(err)
	}
	return c
}

// Map returns the same keys with what f makes of their values, or f's first error.
func Map(data map[string]any, f func(key string, value any) (any, error)) (map[string]any, error) {
	mapped := make(map[string]any, len(data))
	for key, v := range data {
		v, err := f(key, v)
		if err != nil {
			return nil, err
		}
		mapped[key] = v
	}
	return mapped, nil
}

// copier is the state of one copy: the containers on the path to here, and whether
// texts are copied as well.
type copier struct {
	path  map[container]struct{}
	texts bool
}

func (i *copier) whole(data map[string]any) (c map[string]any, err error) {
	c = make(map[string]any, len(data))
	for key, value := range data {
		if value, err = i.copy(value, 0); err != nil {
			return nil, err
		}
		c[i.text(key)] = value
	}
	return c, nil
}

func (i *copier) text(text string) string {
	if i.texts {
		return strings.Clone(text)
	}
	return text
}

// scalar isn't ok for what a copy of the interface doesn't copy.
func (i *copier) scalar(value any) (c any, ok bool) {
	if i.texts {
		return ownScalar(value)
	}
	return value, IsScalar(value)
}

func ownScalar(value any) (c any, ok bool) {
	switch v := value.(type) {
	case string:
		return strings.Clone(v), true
	case json.Number:
		return json.Number(strings.Clone(string(v))), true
	}
	return value, IsScalar(value)
}

type container struct {
	of  reflect.Type // a pointer to a struct and one to its first field are two
	at  uintptr
	len int
}

// enter guards one level of nesting; the function that it returns leaves it.
func (i *copier) enter(v reflect.Value, depth int) (leave func(), err error) {
	if depth > maxNesting {
		return nil, errDeep
	}
	if depth < watchNesting {
		return func() {}, nil
	}
	c := container{of: v.Type(), at: v.Pointer()}
	if v.Kind() == reflect.Slice {
		c.len = v.Len()
	}
	if _, seen := i.path[c]; seen {
		return nil, errCyclic
	}
	if i.path == nil {
		i.path = map[container]struct{}{}
	}
	i.path[c] = struct{}{}
	return func() { delete(i.path, c) }, nil
}

func (i *copier) copy(value any, depth int) (any, error) {
	if c, ok := i.scalar(value); ok {
		return c, nil
	}
	// The types that JSON decodes to come first and without reflection.
	switch v := value.(type) {
	case map[string]any:
		if v == nil {
			return v, nil
		}
		leave, err := i.enter(reflect.ValueOf(value), depth)
		if err != nil {
			return nil, err
		}
		defer leave()
		var c map[string]any
		if i.texts {
			c = make(map[string]any, len(v))
		} else {
			c = maps.Clone(v)
		}
		for key, element := range v {
			if !i.texts && IsScalar(element) {
				continue
			}
			copied, err := i.copy(element, depth+1)
			if err != nil {
				return nil, err
			}
			c[i.text(key)] = copied
		}
		return c, nil
	case []any:
		if v == nil {
			return v, nil
		}
		leave, err := i.enter(reflect.ValueOf(value), depth)
		if err != nil {
			return nil, err
		}
		defer leave()
		c := make([]any, len(v))
		for n, element := range v {
			if c[n], err = i.copy(element, depth+1); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	v := reflect.ValueOf(value)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return value, nil
	}
	if c, ok, err := i.deepCopy(value, depth); ok || err != nil {
		return c, err
	}
	c := reflect.New(v.Type()).Elem()
	if err := i.reflect(c, v, depth); err != nil {
		return nil, err
	}
	return c.Interface(), nil
}

// reflect sets dst, which is settable and of the same type, to a copy of src.
func (i *copier) reflect(dst, src reflect.Value, depth int) error {
	if depth > maxNesting {
		return errDeep
	}
	dst.Set(src)
	switch src.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if src.IsNil() {
			return nil
		}
		if src.Kind() == reflect.Pointer {
			if c, ok, err := i.deepCopy(src.Interface(), depth); ok || err != nil {
				if ok {
					dst.Set(reflect.ValueOf(c))
				}
				return err
			}
		}
		leave, err := i.enter(src, depth)
		if err != nil {
			return err
		}
		defer leave()
	}
	switch src.Kind() {
	case reflect.String:
		if i.texts {
			dst.SetString(strings.Clone(src.String()))
		}
	case reflect.Interface:
		if src.IsNil() {
			return nil
		}
		c, err := i.copy(src.Elem().Interface(), depth+1)
		if err != nil {
			return err
		}
		dst.Set(reflect.ValueOf(c))
	case reflect.Pointer:
		dst.Set(reflect.New(src.Type().Elem()))
		return i.reflect(dst.Elem(), src.Elem(), depth+1)
	case reflect.Map:
		dst.Set(reflect.MakeMapWithSize(src.Type(), src.Len()))
		for entries := src.MapRange(); entries.Next(); {
			c := reflect.New(src.Type().Elem()).Elem()
			if err := i.reflect(c, entries.Value(), depth+1); err != nil {
				return err
			}
			dst.SetMapIndex(i.key(entries.Key()), c)
		}
	case reflect.Slice:
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		return i.elements(dst, src, depth)
	case reflect.Array:
		return i.elements(dst, src, depth)
	case reflect.Struct:
		switch src.Type() {
		case timeType:
			return nil
		case varType:
			c, err := i.variable(dst.Addr().Interface().(*gvar.Var), depth)
			if err == nil {
				dst.Set(reflect.ValueOf(c).Elem())
			}
			return err
		}
		return i.fields(dst, src, depth)
	}
	return nil
}

// key copies the text of a map's key; others stay the keys that they are.
func (i *copier) key(key reflect.Value) reflect.Value {
	text := key
	if text.Kind() == reflect.Interface {
		text = text.Elem()
	}
	if !i.texts || text.Kind() != reflect.String {
		return key
	}
	return reflect.ValueOf(strings.Clone(text.String())).Convert(text.Type())
}

// fields copies what exported fields refer to, those of embedded structs included.
func (i *copier) fields(dst, src reflect.Value, depth int) error {
	for n := range src.NumField() {
		field, copyField := dst.Field(n), i.reflect
		switch {
		case field.CanSet():
		case field.Kind() == reflect.Struct && src.Type().Field(n).Anonymous:
			copyField = i.fields
		default:
			continue
		}
		if err := copyField(field, src.Field(n), depth+1); err != nil {
			return err
		}
	}
	return nil
}

var (
	timeType = reflect.TypeFor[time.Time]()
	varType  = reflect.TypeFor[gvar.Var]()
)

func (i *copier) elements(dst, src reflect.Value, depth int) error {
	if kind := src.Type().Elem().Kind(); !isPlain(kind) && (kind != reflect.String || i.texts) {
		for n := range src.Len() {
			if err := i.reflect(dst.Index(n), src.Index(n), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	reflect.Copy(dst, src)
	return nil
}

// isPlain reports whether values of the kind refer to nothing.
func isPlain(kind reflect.Kind) bool {
	return kind >= reflect.Bool && kind <= reflect.Complex128 && kind != reflect.Uintptr
}

// deepCopy copies a value that knows how to. The containers of GoFrame that hold
// values of any type are copied here: their own DeepCopy makes structs in them
// without unexported fields, such as big numbers, zero.
//
// A DeepCopy that returns another type was promoted from an embedded field, or has
// nothing to copy, and doesn't count.
func (i *copier) deepCopy(value any, depth int) (c any, ok bool, err error) {
	switch v := value.(type) {
	case *gvar.Var:
		c, err = i.variable(v, depth)
	case *gmap.StrAnyMap:
		v.Size() // its zero value makes a map when it is first used
		var kv *gmap.KVMap[string, any]
		kv, err = copyMap(i, v.KVMap, depth)
		c = &gmap.StrAnyMap{KVMap: kv}
	case *gmap.IntAnyMap:
		v.Size()
		var kv *gmap.KVMap[int, any]
		kv, err = copyMap(i, v.KVMap, depth)
		c = &gmap.IntAnyMap{KVMap: kv}
	case *gmap.AnyAnyMap:
		v.Size()
		var kv *gmap.KVMap[any, any]
		kv, err = copyMap(i, v.KVMap, depth)
		c = &gmap.AnyAnyMap{KVMap: kv}
	case *gmap.KVMap[string, any]:
		c, err = copyMap(i, v, depth)
	case *garray.Array:
		v.Len()
		c, err = i.array(v, depth)
	case deepCopier:
		if embedsNil(reflect.ValueOf(value)) {
			return nil, false, nil
		}
		c = v.DeepCopy()
		return c, c != nil && reflect.TypeOf(c) == reflect.TypeOf(value), nil
	default:
		return nil, false, nil
	}
	return c, err == nil, err
}

var deepCopierType = reflect.TypeFor[deepCopier]()

// embedsNil reports whether the DeepCopy of a struct may be one that is promoted from
// a nil pointer.
func embedsNil(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return false
	}
	for n := range v.NumField() {
		if !v.Type().Field(n).Anonymous {
			continue
		}
		switch field := v.Field(n); field.Kind() {
		case reflect.Pointer, reflect.Interface:
			if field.IsNil() && field.Type().Implements(deepCopierType) {
				return true
			}
		case reflect.Struct:
			if embedsNil(field) {
				return true
			}
		}
	}
	return false
}

func (i *copier) variable(v *gvar.Var, depth int) (*gvar.Var, error) {
	leave, err := i.enter(reflect.ValueOf(v), depth)
	if err != nil {
		return nil, err
	}
	defer leave()
	c := v.Clone()
	inner, err := i.copy(c.Val(), depth+1)
	c.Set(inner)
	return c, err
}

func copyMap[K comparable](i *copier, m *gmap.KVMap[K, any], depth int) (*gmap.KVMap[K, any], error) {
	leave, err := i.enter(reflect.ValueOf(m), depth)
	if err != nil {
		return nil, err
	}
	defer leave()
	c := m.Clone()
	c.LockFunc(func(data map[K]any) {
		for key, value := range data {
			if data[key], err = i.copy(value, depth+1); err != nil {
				return
			}
		}
	})
	return c, err
}

func (i *copier) array(a *garray.Array, depth int) (*garray.Array, error) {
	leave, err := i.enter(reflect.ValueOf(a), depth)
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &garray.Array{TArray: a.TArray.Clone()}
	c.LockFunc(func(elements []any) {
		for n, element := range elements {
			if elements[n], err = i.copy(element, depth+1); err != nil {
				return
			}
		}
	})
	return c, err
}
