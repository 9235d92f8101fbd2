package sessionmap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// stranger is a third party's decorator: it knows gsession.Storage alone, and embeds what
// it wraps under that interface.
type stranger struct{ gsession.Storage }

// shouting is a stranger that makes maps of its own on the way: values are upper
// case below it.
type shouting struct{ gsession.Storage }

func (s shouting) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := s.Storage.GetSession(ctx, id, ttl)
	if m == nil {
		return nil, err
	}
	return each(m, strings.ToLower), err
}

func (s shouting) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return s.Storage.SetSession(ctx, id, each(m, strings.ToUpper), ttl)
}

func each(m *gmap.StrAnyMap, change func(string) string) *gmap.StrAnyMap {
	c := gmap.NewStrAnyMap(true)
	for key, value := range m.Map() {
		c.Set(key, change(value.(string)))
	}
	return c
}

// mutating is shouting that changes the map that it is given in place.
type mutating struct{ gsession.Storage }

func (s mutating) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	m, err := s.Storage.GetSession(ctx, id, ttl)
	if m != nil {
		m.Replace(each(m, strings.ToLower).Map())
	}
	return m, err
}

func (s mutating) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	m.Replace(each(m, strings.ToUpper).Map())
	return s.Storage.SetSession(ctx, id, m, ttl)
}

// renaming is shouting that keeps sessions under other ids.
type renaming struct{ gsession.Storage }

func (s renaming) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return shouting(s).GetSession(ctx, "tenant-"+id, ttl)
}

func (s renaming) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return shouting(s).SetSession(ctx, "tenant-"+id, m, ttl)
}

func (s renaming) RemoveAll(ctx context.Context, id string) error {
	return s.Storage.RemoveAll(ctx, "tenant-"+id)
}

func TestRequestsThroughAStrangerThatRenames(t *testing.T) {
	c := newCore()
	u := newUpper(renaming{newFront(c)})
	for range 3 {
		u.get(t, id)
	}
	u.set(t, id, locked(values{"user": "one", "cart": "a"}))
	m := u.get(t, id)
	m.Remove("user")
	u.set(t, id, m)
	wantData(t, c.holds("tenant-"+id), values{"cart": "A"})
}

// upper is the Maps of a chain whose outermost layer is a stranger's.
type upper struct {
	*Maps
	top tiers.Storage
}

func newUpper(s gsession.Storage) *upper {
	top := Adapt(s)
	return &upper{Maps: New(top), top: top}
}

func (u *upper) get(t testing.TB, id string) *gmap.StrAnyMap {
	t.Helper()
	m, err := u.GetSession(t.Context(), id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (u *upper) set(t testing.TB, id string, m *gmap.StrAnyMap) {
	t.Helper()
	if err := u.SetSession(t.Context(), id, m, ttl); err != nil {
		t.Fatal(err)
	}
}

// session is a request's.
func (u *upper) session() *gsession.Session {
	return gsession.New(ttl, layered{stranger{u.top}, u}).New(context.Background(), id)
}

func (u *upper) remove(t testing.TB, id string) {
	t.Helper()
	if err := u.top.RemoveAll(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	u.Removed(id)
}

var strangers = map[string]func(gsession.Storage) gsession.Storage{
	"passing on": func(s gsession.Storage) gsession.Storage { return stranger{s} },
	"two":        func(s gsession.Storage) gsession.Storage { return stranger{stranger{s}} },
	"own maps":   func(s gsession.Storage) gsession.Storage { return shouting{s} },
	"in place":   func(s gsession.Storage) gsession.Storage { return mutating{s} },
	"mixed":      func(s gsession.Storage) gsession.Storage { return stranger{newFrontOver(shouting{s})} },
}

// newFrontOver is a layer of the capability over a stranger.
func newFrontOver(s gsession.Storage) gsession.Storage {
	u := newUpper(s)
	return layered{stranger{s}, u}
}

type layered struct {
	stranger
	u *upper
}

func (l layered) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return l.u.GetSession(ctx, id, ttl)
}

func (l layered) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return l.u.SetSession(ctx, id, m, ttl)
}

func (l layered) RemoveAll(ctx context.Context, id string) error {
	if err := l.u.top.RemoveAll(ctx, id); err != nil {
		return err
	}
	l.u.Removed(id)
	return nil
}

// seen are values as they are above the strangers.
func seen(data values) values {
	c := values{}
	for key, value := range data {
		c[key] = strings.ToLower(value.(string))
	}
	return c
}

func overStrangers(t *testing.T, test func(t *testing.T, c *core, u *upper)) {
	t.Helper()
	for name, wrap := range strangers {
		t.Run(name, func(t *testing.T) {
			c := newCore()
			test(t, c, newUpper(wrap(newFront(c))))
		})
	}
}

func TestOverlappingRequestsThroughAStranger(t *testing.T) {
	overStrangers(t, func(t *testing.T, c *core, u *upper) {
		for range 3 { // that many requests find nothing and write nothing
			u.get(t, id)
		}
		u.get(t, id)
		u.set(t, id, locked(values{"a": "1", "b": "1", "user": "one"}))
		one, two := u.get(t, id), u.get(t, id)
		one.Set("a", "x")
		one.Remove("user")
		two.Set("b", "y")
		two.Set("c", "z")
		u.set(t, id, one)
		u.set(t, id, two)
		wantData(t, seen(c.holds(id)), values{"a": "x", "b": "y", "c": "z"})
		wantData(t, u.get(t, id).Map(), values{"a": "x", "b": "y", "c": "z"})
	})
}

func TestWholeWriteThroughAStranger(t *testing.T) {
	overStrangers(t, func(t *testing.T, c *core, u *upper) {
		u.get(t, id)
		u.set(t, id, locked(values{"a": "1"}))
		u.get(t, id)
		u.set(t, id, locked(values{"b": "1"}))
		wantData(t, seen(c.holds(id)), values{"b": "1"})
	})
}

func TestManyRequestsThroughAStrangerLoseNothing(t *testing.T) {
	overStrangers(t, func(t *testing.T, c *core, u *upper) {
		want := values{}
		var all sync.WaitGroup
		for n := range 6 {
			for round := range 10 {
				want[fmt.Sprint(n, "-", round)] = "v"
			}
			all.Go(func() {
				for round := range 10 {
					s := u.session()
					s.MustSet(fmt.Sprint(n, "-", round), "v")
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		wantData(t, seen(c.holds(id)), want)
	})
}

func TestLogOutThroughAStranger(t *testing.T) {
	overStrangers(t, func(t *testing.T, c *core, u *upper) {
		u.set(t, id, locked(values{"user": "one"}))
		old := u.get(t, id)
		u.remove(t, id)
		old.Set("cart", "a")
		wantRevoked(t, u.SetSession(t.Context(), id, old, ttl))
		wantRevoked(t, u.SetSession(t.Context(), "session-2", old, ttl))
		wantData(t, c.holds(id), nil)
		wantData(t, c.holds("session-2"), nil)

		u.set(t, id, locked(values{"user": "two"}))
		again := u.get(t, id)
		_ = c.RemoveAll(t.Context(), id) // on another node
		again.Set("cart", "a")
		if err := u.SetSession(t.Context(), id, again, ttl); !errors.Is(err, tiers.ErrRevoked) {
			t.Errorf("SetSession = %v, want ErrRevoked", err)
		}
		wantData(t, c.holds(id), nil)
	})
}

func TestReloginThroughAStranger(t *testing.T) {
	overStrangers(t, func(t *testing.T, c *core, u *upper) {
		u.set(t, id, locked(values{"user": "one"}))
		m := u.get(t, id)
		u.remove(t, id)
		m.Clear()
		m.Set("user", "one")
		u.set(t, id, m)
		wantData(t, seen(c.holds(id)), values{"user": "one"})
		u.set(t, "session-2", m)
		wantData(t, seen(c.holds("session-2")), values{"user": "one"})
	})
}

// meddling is a stranger past which something else happens to the session, between
// the adapter's read and its write.
type meddling struct {
	mutating
	meanwhile *func()
}

func (m meddling) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if meanwhile := *m.meanwhile; meanwhile != nil {
		*m.meanwhile = nil
		meanwhile()
	}
	return m.mutating.SetSession(ctx, id, data, ttl)
}

// The Maps below a stranger commits differences as well: what another node does
// between the adapter's read and its write isn't undone.
func TestStrangerThatIsOvertaken(t *testing.T) {
	overtaken := func(t *testing.T, begin values, meanwhile func(f *front)) (*core, error) {
		c := newCore()
		f := newFront(c)
		hook := func() { meanwhile(f) }
		var armed func()
		u := newUpper(meddling{mutating{f}, &armed})
		if begin != nil {
			c.put(id, begin)
		}
		s := u.session()
		s.MustSet("cart", "a")
		armed = hook
		return c, s.Close()
	}
	t.Run("by a write", func(t *testing.T) {
		c, err := overtaken(t, values{"user": "ONE"}, func(f *front) { f.core.put(id, values{"user": "ONE", "more": "X"}) })
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, c.holds(id), values{"user": "ONE", "more": "X", "cart": "A"})
	})
	t.Run("by a creation", func(t *testing.T) {
		c, err := overtaken(t, nil, func(f *front) { f.core.put(id, values{"user": "ONE"}) })
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, c.holds(id), values{"user": "ONE", "cart": "A"})
	})
	t.Run("by a log-out", func(t *testing.T) {
		c, err := overtaken(t, values{"user": "ONE"}, func(f *front) { _ = f.RemoveAll(context.Background(), id) })
		wantRevoked(t, err)
		wantData(t, c.holds(id), nil)
	})
}

// Above a stranger, what a change of id depends on is asked of the store, and written without
// delay.
func TestUrgencyPassesAStranger(t *testing.T) {
	c := newCore()
	u := newUpper(stranger{newFront(c)})
	u.set(t, id, locked(values{"user": "one"}))
	m := u.get(t, id)
	c.commits = nil
	u.set(t, "session-2", m)
	wantData(t, c.holds("session-2"), values{"user": "one"})
	var inquiries, writes int
	for _, delta := range c.commits {
		switch {
		case delta.IsInquiry():
			inquiries++
		case delta.Urgent() && !delta.Empty():
			writes++
		default:
			t.Error("a commit is neither urgent nor an inquiry")
		}
	}
	if inquiries != 2 || writes != 1 {
		t.Errorf("%d inquiries and %d writes", inquiries, writes)
	}
}
