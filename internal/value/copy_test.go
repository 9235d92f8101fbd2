package value

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/garray"
	"github.com/gogf/gf/v2/container/glist"
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/container/gset"
	"github.com/gogf/gf/v2/container/gvar"
	"github.com/gogf/gf/v2/os/gtime"
)

type values = map[string]any

type point struct{ X, Y int }

type account struct {
	Name   string
	Tags   []string
	Next   *account
	Any    any
	Var    gvar.Var
	secret []string
	number int
}

type rights struct{ Roles []string }

type member struct {
	rights
	*point
	Name string
}

// event has the DeepCopy of its embedded field, which copies only that.
type event struct {
	*gtime.Time
	Name string
}

type cart struct {
	*gmap.StrAnyMap
	Owner string
}

type bag struct{ M gmap.StrAnyMap }

// copied has a DeepCopy of its own.
type copied struct {
	copies int
	list   []int
}

func (c *copied) DeepCopy() any {
	if c == nil {
		return nil
	}
	return &copied{copies: c.copies + 1, list: append([]int{}, c.list...)}
}

type (
	named     map[string][]int
	list      []any
	stringer  interface{ String() string }
	interfacd struct{ S stringer }
)

func mustCopy[T any](t testing.TB, value T) T {
	t.Helper()
	c, err := Copy(value)
	if err != nil {
		t.Fatalf("Copy(%T): %v", value, err)
	}
	typed, ok := c.(T)
	if !ok {
		t.Fatalf("Copy(%T) is a %T", value, c)
	}
	return typed
}

func TestCopiesAreEqualAndOfTheSameType(t *testing.T) {
	now, number := time.Now(), 7
	for _, value := range []any{
		nil, "text", true, 1, int8(1), uint64(1), uintptr(1), 1.5, float32(1), complex(1, 2), json.Number("1.50"),
		now, now.Round(0).UTC(), time.Second, &now, time.March,
		values{"a": values{"b": []any{1, "x", nil, values{}}}}, values(nil), []any(nil), []any{}, values{},
		[]string{"a"}, []string(nil), []byte("raw"), json.RawMessage(`{}`), [2][]int{{1}, nil}, [0]int{},
		named{"a": {1}}, named(nil), list{1, list{}}, list(nil),
		map[point][]int{{1, 2}: {3}}, map[any]any{1: []int{1}, "a": nil, nil: 1, point{}: values{}}, map[*int]int{&number: 1},
		&number, new(*int), (*int)(nil), (*account)(nil), point{1, 2}, &point{1, 2}, struct{}{}, &struct{}{},
		account{Name: "n", Tags: []string{"t"}, Next: &account{secret: []string{"s"}}, Any: []int{1}, secret: []string{"s"}, number: 3},
		&member{rights{[]string{"a"}}, &point{1, 2}, "m"}, member{},
		gvar.New(values{"a": 1}), gvar.New([]int{1}, true), (*gvar.Var)(nil), gvar.New(nil),
		gtime.New(now), (*gtime.Time)(nil), (*gmap.StrAnyMap)(nil), (*glist.List)(nil), (*copied)(nil),
		event{gtime.New(now), "e"}, &event{gtime.New(now), "e"}, event{Name: "no time"}, &event{Name: "no time"}, []event{{Name: "no time"}},
		cart{Owner: "o"}, &cart{Owner: "o"}, struct{ cart }{}, []cart{{Owner: "o"}},
		big.NewInt(1 << 60), *big.NewInt(5), netip.MustParseAddr("::1"), interfacd{big.NewInt(1)}, interfacd{}, []stringer{big.NewInt(1), nil, (*gtime.Time)(nil)},
		&glist.List{}, []any{&glist.List{}}, map[string]stringer{"l": &glist.List{}}, struct{ L any }{&glist.List{}},
		errors.New("an error"),
	} {
		c, err := Copy(value)
		if err != nil {
			t.Errorf("Copy(%T): %v", value, err)
		} else if !reflect.DeepEqual(c, value) {
			t.Errorf("Copy(%T) = %#v, want %#v", value, c, value)
		}
		if c, err = Own(value); err != nil || !reflect.DeepEqual(c, value) {
			t.Errorf("Own(%T) = %#v, %v, want %#v", value, c, err, value)
		}
	}
}

// The containers of GoFrame hold locks and once flags, which aren't compared.
func TestContainersOfGoFrameKeepTheirContent(t *testing.T) {
	number := big.NewInt(5)
	inside := func(v any) bool {
		n, ok := v.(*big.Int)
		return ok && n != number && n.Cmp(number) == 0
	}
	if !inside(mustCopy(t, gvar.New(number)).Val()) || !inside(mustCopy(t, gvar.New(number, true)).Val()) {
		t.Error("gvar.Var lost its number")
	}
	if !inside(mustCopy(t, gmap.NewStrAnyMapFrom(values{"k": number})).Get("k")) {
		t.Error("gmap.StrAnyMap lost its number")
	}
	if !inside(mustCopy(t, gmap.NewIntAnyMapFrom(map[int]any{1: number}, true)).Get(1)) {
		t.Error("gmap.IntAnyMap lost its number")
	}
	if !inside(mustCopy(t, gmap.NewAnyAnyMapFrom(map[any]any{1: number}, true)).Get(1)) {
		t.Error("gmap.AnyAnyMap lost its number")
	}
	if !inside(mustCopy(t, gmap.NewKVMapFrom(values{"k": number}, true)).Get("k")) {
		t.Error("gmap.KVMap lost its number")
	}
	if !inside(mustCopy(t, garray.NewArrayFrom([]any{number}, true)).At(0)) {
		t.Error("garray.Array lost its number")
	}
	if holder := mustCopy(t, account{Var: *gvar.New(number)}); !inside(holder.Var.Val()) {
		t.Error("a gvar.Var in a struct lost its number")
	}
	if !hasLock(mustCopy(t, gmap.NewStrAnyMap(true))) {
		t.Error("a gmap lost its lock")
	}
	if hasLock(mustCopy(t, gmap.NewStrAnyMap())) {
		t.Error("a gmap was given a lock")
	}
	if n := mustCopy(t, &gmap.StrAnyMap{}).Size() + mustCopy(t, &garray.Array{}).Len(); n != 0 {
		t.Error("zero containers are copied to something")
	}
	if !mustCopy(t, gset.NewFrom([]any{1, 2})).Equal(gset.NewFrom([]any{2, 1})) {
		t.Error("gset.Set lost an element")
	}
	if got := mustCopy(t, glist.NewFrom([]any{1, 2})).FrontAll(); !reflect.DeepEqual(got, []any{1, 2}) {
		t.Errorf("glist.List = %v", got)
	}
}

func hasLock(m *gmap.StrAnyMap) bool {
	return !reflect.ValueOf(m.KVMap).Elem().FieldByName("mu").FieldByName("mutex").IsNil()
}

func TestOwnDeepCopyIsUsed(t *testing.T) {
	v := &copied{list: []int{1}}
	for name, c := range map[string]*copied{
		"alone":       mustCopy(t, v),
		"in a slice":  mustCopy(t, []*copied{v})[0],
		"in a struct": mustCopy(t, struct{ C *copied }{v}).C,
		"behind any":  mustCopy(t, []any{v})[0].(*copied),
	} {
		if c == v || c.copies != 1 || &c.list[0] == &v.list[0] {
			t.Errorf("%s: %+v isn't what DeepCopy makes", name, c)
		}
	}
}

// Each value is copied, the copy changed in depth, and the original compared with a
// second copy that was made before.
func TestNothingIsShared(t *testing.T) {
	number := 1
	cases := map[string]struct {
		value  any
		change func(c any)
	}{
		"map":                      {values{"a": values{"b": 1}}, func(c any) { c.(values)["a"].(values)["b"] = 2 }},
		"slice":                    {[]any{[]any{1}}, func(c any) { c.([]any)[0].([]any)[0] = 2 }},
		"bytes":                    {[]byte("a"), func(c any) { c.([]byte)[0] = 'b' }},
		"typed map":                {named{"a": {1}}, func(c any) { c.(named)["a"][0] = 2 }},
		"map with struct keys":     {map[point][]int{{}: {1}}, func(c any) { c.(map[point][]int)[point{}][0] = 2 }},
		"map of any":               {map[any]any{1: []int{1}}, func(c any) { c.(map[any]any)[1].([]int)[0] = 2 }},
		"array":                    {[1][]int{{1}}, func(c any) { c.([1][]int)[0][0] = 2 }},
		"array of arrays":          {[1][1]*int{{&number}}, func(c any) { *c.([1][1]*int)[0][0] = 2 }},
		"pointer":                  {&number, func(c any) { *c.(*int) = 2 }},
		"pointer to a pointer":     {&[]*int{&number}, func(c any) { *(*c.(*[]*int))[0] = 2 }},
		"struct":                   {account{Tags: []string{"a"}}, func(c any) { c.(account).Tags[0] = "b" }},
		"pointer to a struct":      {&account{Next: &account{}}, func(c any) { c.(*account).Next.Name = "b" }},
		"interface in a struct":    {account{Any: []int{1}}, func(c any) { c.(account).Any.([]int)[0] = 2 }},
		"gvar in a struct":         {&account{Var: *gvar.New([]int{1})}, func(c any) { c.(*account).Var.Val().([]int)[0] = 2 }},
		"embedded struct":          {member{rights: rights{[]string{"a"}}}, func(c any) { c.(member).Roles[0] = "b" }},
		"pointer to an embedding":  {&member{rights: rights{[]string{"a"}}}, func(c any) { c.(*member).Roles[0] = "b" }},
		"gvar":                     {gvar.New([]int{1}), func(c any) { c.(*gvar.Var).Val().([]int)[0] = 2 }},
		"gmap":                     {gmap.NewStrAnyMapFrom(values{"a": []int{1}}), func(c any) { c.(*gmap.StrAnyMap).Get("a").([]int)[0] = 2 }},
		"gmap itself":              {gmap.NewStrAnyMapFrom(values{"a": 1}), func(c any) { c.(*gmap.StrAnyMap).Set("a", 2) }},
		"gmap in a struct":         {&bag{M: gmap.StrAnyMap{KVMap: gmap.NewKVMapFrom(values{"a": 1})}}, func(c any) { c.(*bag).M.Set("a", 2) }},
		"garray":                   {garray.NewArrayFrom([]any{[]int{1}}), func(c any) { c.(*garray.Array).At(0).([]int)[0] = 2 }},
		"gtime":                    {gtime.New(time.Unix(0, 0)), func(c any) { c.(*gtime.Time).Time = time.Now() }},
		"embedded gtime":           {&event{gtime.New(time.Unix(0, 0)), "e"}, func(c any) { c.(*event).Time.Time = time.Now() }},
		"embedded gmap":            {cart{gmap.NewStrAnyMapFrom(values{"a": 1}), "o"}, func(c any) { c.(cart).Set("a", 2) }},
		"empty glist":              {&glist.List{}, func(c any) { c.(*glist.List).PushBack(1) }},
		"empty glist in a slice":   {[]*glist.List{{}}, func(c any) { c.([]*glist.List)[0].PushBack(1) }},
		"time behind a pointer":    {&[]time.Time{{}}[0], func(c any) { *c.(*time.Time) = time.Now() }},
		"interface with a pointer": {[]stringer{big.NewInt(1)}, func(c any) { c.([]stringer)[0] = nil }},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			before, c := mustCopy(t, tt.value), mustCopy(t, tt.value)
			tt.change(c)
			if asText(t, tt.value) != asText(t, before) {
				t.Errorf("the original changed with the copy: %v, was %v", asText(t, tt.value), asText(t, before))
			}
			if asText(t, c) == asText(t, before) && name != "interface with a pointer" && !strings.HasPrefix(name, "map") {
				t.Errorf("the change isn't seen in the copy either: %v", asText(t, c))
			}
		})
	}
}

// asText shows what a value holds, through pointers and containers.
func asText(t testing.TB, value any) string {
	t.Helper()
	if m, ok := value.(map[point][]int); ok {
		value = m[point{}]
	}
	if m, ok := value.(map[any]any); ok {
		value = m[1]
	}
	if c, ok := value.(cart); ok {
		return c.StrAnyMap.String()
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type loop struct {
	Value int
	Next  *loop
	Left  any
	First *int
}

func TestValuesThatContainThemselvesAreRefusedAtOnce(t *testing.T) {
	inMap := values{}
	inMap["a"], inMap["b"] = inMap, inMap
	inSlice := make([]any, 2)
	inSlice[0], inSlice[1] = inSlice, inSlice
	pointers := &loop{}
	pointers.Next, pointers.Left = pointers, pointers
	var self any
	self = &self
	type tree map[string]tree
	typed := tree{}
	typed["a"], typed["b"] = typed, typed
	mutual, other := &loop{}, values{}
	mutual.Left, other["back"], other["again"] = other, mutual, []any{mutual}
	container := gmap.NewStrAnyMap(true)
	container.Set("a", container)
	container.Set("b", values{"a": container})
	variable := gvar.New(nil)
	variable.Set(variable)
	array := garray.NewArray()
	array.Append(array, array)
	for name, value := range map[string]any{
		"map": inMap, "slice": inSlice, "pointers": pointers, "interface": self, "typed map": typed,
		"two": mutual, "gmap": container, "gvar": variable, "garray": array,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Copy(value); !errors.Is(err, errCyclic) {
				t.Errorf("Copy = %v, want errCyclic", err)
			}
			if _, err := OwnMap(values{"k": value}); !errors.Is(err, errCyclic) {
				t.Errorf("OwnMap = %v, want errCyclic", err)
			}
		})
	}
}

// Values that share parts, or hold what only looks alike, contain themselves nowhere.
func TestValuesThatDoNotContainThemselvesAreCopied(t *testing.T) {
	part := values{"a": 1}
	shared := []any{part, part, values{"x": part}}
	self := &loop{Value: 7}
	self.First = &self.Value // the address of the struct, of another type
	inner := []any{1, 2, 3}
	inner[2] = inner[:2] // starts where inner does, and ends before
	empty := []any{[]any{}, []any{}, []struct{}{{}, {}}, &struct{}{}, &struct{}{}}
	for name, value := range map[string]any{"shared": shared, "first field": self, "prefix": inner, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			deep := value
			for range 2 * watchNesting {
				deep = []any{deep}
			}
			for _, value := range []any{value, deep} {
				if c, err := Copy(value); err != nil || !reflect.DeepEqual(c, value) {
					t.Errorf("Copy = %v, %v", c, err)
				}
			}
		})
	}
}

func TestNestingIsBounded(t *testing.T) {
	wraps := map[string]func(any) any{
		"maps":     func(v any) any { return values{"k": v} },
		"slices":   func(v any) any { return []any{v} },
		"pointers": func(v any) any { return &v },
		"structs":  func(v any) any { return loop{Left: v} },
		"gvars":    func(v any) any { return gvar.New(v) },
	}
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			var value any = "leaf"
			for range 3000 {
				value = wrap(value)
			}
			if _, err := CopyMap(values{"k": value}); err != nil {
				t.Fatalf("3,000 deep: %v", err)
			}
			for range maxNesting {
				value = wrap(value)
			}
			if _, err := Copy(value); !errors.Is(err, errDeep) {
				t.Errorf("too deep: %v, want errDeep", err)
			}
		})
	}
}

// A value that can't be copied stays what it is.
func TestChannelsAndFunctionsStay(t *testing.T) {
	ch := make(chan int)
	if mustCopy(t, ch) != ch || mustCopy(t, []chan int{ch})[0] != ch {
		t.Error("a channel was replaced")
	}
	if f := mustCopy(t, func() int { return 7 }); f() != 7 {
		t.Error("a function was replaced")
	}
}
