package sessionmap

import (
	"context"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

func handedOut(f *Maps, data values) *gmap.StrAnyMap {
	return f.newMap(given{id: id, base: tiers.Adopt(data)})
}

// adopted is a map that a gsession.Session has made and closed.
func adopted(t testing.TB, f *front, data values) (m *gmap.StrAnyMap) {
	t.Helper()
	s := gsession.New(ttl, &watching{f, &m}).New(t.Context())
	if err := s.SetMap(data); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if !known(f.Maps, m) {
		t.Fatal("the map of a Session isn't followed")
	}
	return m
}

// watching notes the map that is closed.
type watching struct {
	*front
	m **gmap.StrAnyMap
}

func (w *watching) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	*w.m = m
	return w.front.SetSession(ctx, id, m, ttl)
}

func known(f *Maps, m *gmap.StrAnyMap) bool {
	_, g := f.knows(m)
	return g != nil
}

// A handed-out map must take for nil what any gmap takes for nil.
func TestCheckerKeepsToTheRuleOfGMap(t *testing.T) {
	var (
		nilPointer *int
		nilMap     map[string]any
		nilSlice   []int
		nilFunc    func()
		nilChan    chan int
		nilError   error
		number     = 1
		nested     = &nilPointer
	)
	corpus := map[string]any{
		"nil": nil, "zero": 0, "empty string": "", "false": false, "number": 1, "pointer": &number,
		"nil pointer": nilPointer, "pointer to a nil pointer": nested, "nil map": nilMap, "map": map[string]any{},
		"nil slice": nilSlice, "slice": []int{}, "nil func": nilFunc, "func": func() {}, "nil chan": nilChan,
		"chan": make(chan int), "nil error": nilError, "struct": struct{}{}, "array": [1]*int{},
		"nil unsafe pointer": unsafe.Pointer(nil), "unsafe pointer": unsafe.Pointer(&number),
		"nil origin": (*origin)(nil), "origin": &origin{}, "nil gmap": (*gmap.StrAnyMap)(nil),
		"reflect.Value of nothing":           reflect.Value{},
		"reflect.Value of a nil pointer":     reflect.ValueOf(nilPointer),
		"reflect.Value of a pointer":         reflect.ValueOf(&number),
		"reflect.Value of a number":          reflect.ValueOf(1),
		"reflect.Value of an interface":      reflect.ValueOf(&nilError).Elem(),
		"reflect.Value of a origin":          reflect.ValueOf(&origin{}),
		"reflect.Value of a settable number": reflect.ValueOf(&number).Elem(),
	}
	stores := map[string]func(m *gmap.StrAnyMap, value any){
		"GetOrSet":              func(m *gmap.StrAnyMap, value any) { m.GetOrSet("k", value) },
		"GetOrSetFunc":          func(m *gmap.StrAnyMap, value any) { m.GetOrSetFunc("k", func() any { return value }) },
		"GetOrSetFuncLock":      func(m *gmap.StrAnyMap, value any) { m.GetOrSetFuncLock("k", func() any { return value }) },
		"GetVarOrSet":           func(m *gmap.StrAnyMap, value any) { m.GetVarOrSet("k", value) },
		"SetIfNotExist":         func(m *gmap.StrAnyMap, value any) { m.SetIfNotExist("k", value) },
		"SetIfNotExistFuncLock": func(m *gmap.StrAnyMap, value any) { m.SetIfNotExistFuncLock("k", func() any { return value }) },
	}
	f := New(newCore())
	for name, value := range corpus {
		for call, store := range stores {
			plain, ours := gmap.NewStrAnyMap(true), handedOut(f, nil)
			store(plain, value)
			store(ours, value)
			if plain.Contains("k") != ours.Contains("k") {
				t.Errorf("%s of %s: stored = %v, in an ordinary map %v", call, name, ours.Contains("k"), plain.Contains("k"))
			}
		}
	}
}

func TestHandedOutMapIsKnownWhateverHappensToItsContent(t *testing.T) {
	f := New(newCore())
	changes := map[string]func(m *gmap.StrAnyMap){
		"nothing": func(*gmap.StrAnyMap) {},
		"Set":     func(m *gmap.StrAnyMap) { m.Set("k", 1) },
		"Clear":   func(m *gmap.StrAnyMap) { m.Clear() },
		"Replace": func(m *gmap.StrAnyMap) { m.Replace(values{"k": 1}) },
		"Flip":    func(m *gmap.StrAnyMap) { m.Flip() },
		"a key that a client chose": func(m *gmap.StrAnyMap) {
			m.Set("\x00strata\x00", "x")
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			m := handedOut(f, values{"a": 1})
			change(m)
			before := m.MapCopy()
			if !known(f, m) {
				t.Error("the map isn't known any more")
			}
			wantData(t, m.MapCopy(), before)
		})
	}
}

func TestMapsOfOthersAreNotKnownAndStayAsTheyAre(t *testing.T) {
	f := New(newCore())
	mine := handedOut(f, values{"a": 1})
	maps := map[string]*gmap.StrAnyMap{
		"empty":              gmap.NewStrAnyMap(true),
		"unlocked":           gmap.NewStrAnyMap(),
		"zero":               {},
		"of a nil map":       gmap.NewStrAnyMapFrom(nil, true),
		"clone":              mine.Clone(true),
		"deep copy":          mine.DeepCopy().(*gmap.StrAnyMap),
		"of another Maps":    handedOut(New(newCore()), values{"a": 1}),
		"of the same Go map": gmap.NewStrAnyMapFrom(mine.Map(), true),
	}
	for name, m := range maps {
		t.Run(name, func(t *testing.T) {
			before := m.MapCopy()
			if known(f, m) {
				t.Error("the map is taken for one that the Maps handed out")
			}
			wantData(t, m.MapCopy(), before)
		})
	}
}

// A checker that a program has set itself stays, and isn't called.
func TestCheckerOfTheOwnerIsLeftAlone(t *testing.T) {
	c := newCore()
	f := newFront(c)
	asked := 0
	m := &gmap.StrAnyMap{KVMap: gmap.NewKVMapWithChecker[string](func(value any) bool {
		asked++
		return value == "nothing"
	}, true)}
	m.Set("a", 1)
	f.set(t, id, m)
	f.set(t, id, m)
	if asked > 0 {
		t.Errorf("the owner's checker was asked %d times", asked)
	}
	wantData(t, m.MapCopy(), values{"a": 1})
	wantData(t, c.holds(id), values{"a": 1})
	if m.GetOrSet("b", "nothing"); m.Contains("b") {
		t.Error("the owner's checker was replaced")
	}
}

func TestAdoptedMap(t *testing.T) {
	c := newCore()
	f := newFront(c)
	t.Run("without a lock is left alone", func(t *testing.T) {
		m := gmap.NewStrAnyMapFrom(values{"a": 1})
		f.set(t, id, m)
		if known(f.Maps, m) {
			t.Error("a map without a lock was given a checker")
		}
	})
	t.Run("belongs to the first face that wrote it", func(t *testing.T) {
		m, other := adopted(t, f, values{"a": 1}), newFront(newCore())
		other.set(t, id, m)
		if !known(f.Maps, m) || known(other.Maps, m) {
			t.Error("the second face took the map over")
		}
	})
}

// Goroutines that share a map of theirs without a lock, for reading, and close with
// it, must not be made to race.
func TestUnlockedMapsAreOnlyRead(t *testing.T) {
	f := newFront(newCore())
	for name, m := range map[string]*gmap.StrAnyMap{
		"filled":       gmap.NewStrAnyMapFrom(values{"a": 1}),
		"of a nil map": gmap.NewStrAnyMapFrom(nil),
	} {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 50 {
						if err := f.SetSession(t.Context(), id, m, ttl); err != nil {
							t.Error(err)
						}
						m.Get("a")
					}
				})
			}
			all.Wait()
		})
	}
}

func TestHandedOutMapTakesConcurrentUse(t *testing.T) {
	c := newCore()
	c.put(id, values{"a": 1})
	f := newFront(c)
	for name, m := range map[string]*gmap.StrAnyMap{"handed out": f.get(t, id), "adopted": adopted(t, f, values{"a": 1})} {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for n := range 4 {
				all.Go(func() {
					for range 50 {
						m.Set("a", n)
						m.GetOrSet("b", nil)
						if err := f.SetSession(t.Context(), id, m, ttl); err != nil {
							t.Error(err)
						}
						if !known(f.Maps, m) {
							t.Error("the map isn't known")
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// Nothing but the map itself keeps the map and its snapshot alive.
func TestHandedOutMapsAreCollected(t *testing.T) {
	c := newCore()
	f := newFront(c)
	gone := make(chan string, 3)
	report := func(name string) { gone <- name }
	func() {
		c.put(id, values{"a": []any{"x"}})
		m := f.get(t, id)
		runtime.AddCleanup(m, report, "map")
		_, g := f.knows(m)
		runtime.AddCleanup(g.base, report, "snapshot")
		m.Set("b", 1)
		f.set(t, id, m)
		c.put(id, nil)
		c.commits = nil
		runtime.AddCleanup(adopted(t, f, values{"a": 1}), report, "adopted map")
		c.commits = nil
	}()
	for range cap(gone) {
		for waiting := true; waiting; {
			runtime.GC()
			select {
			case <-gone:
				waiting = false
			default:
			}
		}
	}
	runtime.KeepAlive(f)
}

// A GoFrame whose maps can't be followed is refused when the chain is made, before a request can lose an update.
func TestUnknownGoFrameIsRefused(t *testing.T) {
	known := canFollow
	if !known() {
		t.Fatal("the maps of this GoFrame can't be followed")
	}
	canFollow = func() bool { return false }
	defer func() {
		canFollow = known
		if err, ok := recover().(*failure.SetupError); !ok || !strings.Contains(err.Error(), "GoFrame version") {
			t.Errorf("New ends with %v", err)
		}
	}()
	New(newCore())
}
