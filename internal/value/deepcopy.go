package value

import (
	"reflect"

	"github.com/gogf/gf/v2/container/garray"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/container/gvar"
)

// deepCopy copies a value that knows how to. The containers of GoFrame that hold
// values of any type are copied here: their own DeepCopy makes structs in them
// without unexported fields, such as big numbers, zero.
//
// A DeepCopy that answers another type was promoted from an embedded field, or has
// nothing to copy, and doesn't count.
func (i *isolation) deepCopy(value any, depth int) (c any, ok bool, err error) {
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

func (i *isolation) variable(v *gvar.Var, depth int) (*gvar.Var, error) {
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

func copyMap[K comparable](i *isolation, m *gmap.KVMap[K, any], depth int) (*gmap.KVMap[K, any], error) {
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

func (i *isolation) array(a *garray.Array, depth int) (*garray.Array, error) {
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
