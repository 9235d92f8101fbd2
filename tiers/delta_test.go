package tiers

import (
	"errors"
	"maps"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gf-strata/strata/internal/change"
)

// drawData draws the state of a session; nil is none where that is allowed.
func drawData(t *rapid.T, label string, none bool) values {
	if none && rapid.Bool().Draw(t, label+" absent") {
		return nil
	}
	value := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 2), func(n int) any { return n }),
		rapid.Map(rapid.SliceOfN(rapid.IntRange(0, 1), 0, 2), func(s []int) any { return s }),
		rapid.Just[any](nil),
	)
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), value, 0, 4).Draw(t, label)
}

func drawSnapshot(t *rapid.T, label string, none bool) *Snapshot {
	data := drawData(t, label, none)
	if data == nil {
		return nil
	}
	return Adopt(data)
}

func add(data values) (*Delta, error) { return Add(data) }

func mustDiff(t rapid.TB, base *Snapshot, data values, removals ...change.Removal) *Delta {
	d, err := DeltaOf(base, change.Compare(base.Data(), data, ""), removals...)
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	return d
}

// Over what it was made from, a delta gives what the request had.
func TestDiffAppliesToItsBase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, data := drawSnapshot(t, "base", false), drawData(t, "data", false)
		d := mustDiff(t, base, data)
		next, err := d.Apply(base)
		switch {
		case err != nil:
			t.Fatalf("Apply: %v", err)
		case !equal(next, data):
			t.Fatalf("Apply = %v, want %v", next, data)
		case d.Empty() != equal(base.Map(), data):
			t.Fatalf("Empty = %v of %v to %v", d.Empty(), base.Map(), data)
		case d.Replaces() || d.Base() != base:
			t.Fatal("the delta forgot what it was made from")
		}
	})
}

// Over anything else it changes what the request changed, and nothing besides.
func TestDiffTouchesOnlyWhatChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, data := drawSnapshot(t, "base", false), drawData(t, "data", false)
		current := drawSnapshot(t, "current", true)
		next, err := mustDiff(t, base, data).Apply(current)
		kept := false
		for key := range base.data {
			if _, ok := data[key]; ok {
				kept = true
			}
		}
		if gone := current == nil || current.Len() == 0; gone && kept {
			if !errors.Is(err, ErrRevoked) || next != nil {
				t.Fatalf("Apply to a session that is gone = %v, %v; want ErrRevoked", next, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("Apply = %v", err)
		}
		want := values{}
		if current != nil {
			want = current.Map()
		}
		for _, key := range []string{"a", "b", "c", "d"} {
			before, had := base.data[key]
			after, has := data[key]
			switch {
			case had && !has:
				delete(want, key)
			case has && (!had || !equal(before, after)):
				want[key] = after
			}
		}
		if !equal(want, next) && (len(want) > 0 || len(next) > 0) {
			t.Fatalf("Apply = %v, want %v", next, want)
		}
	})
}

// Deltas of requests that change different keys give the same in either order.
func TestDiffsOfDifferentKeysCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := drawSnapshot(t, "base", false)
		one, two := base.Map(), base.Map()
		for key, data := range map[string]values{"a": one, "b": one, "c": two, "d": two} {
			if rapid.Bool().Draw(t, "change "+key) {
				data[key] = rapid.IntRange(3, 4).Draw(t, key)
			} else if rapid.Bool().Draw(t, "remove "+key) {
				delete(data, key)
			}
		}
		apply := func(first, second values) values {
			next, err := mustDiff(t, base, first).Apply(base)
			if err == nil {
				next, err = mustDiff(t, base, second).Apply(Adopt(next))
			}
			if err != nil && !errors.Is(err, ErrRevoked) {
				t.Fatal(err)
			}
			return next
		}
		if len(one) == 0 || len(two) == 0 {
			return // the second finds an empty session, which is none
		}
		if a, b := apply(one, two), apply(two, one); !equal(a, b) {
			t.Fatalf("one order gives %v, the other %v", a, b)
		}
	})
}

func TestAddJoinsAndReplaceReplaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, current := drawData(t, "data", false), drawSnapshot(t, "current", true)
		want := values{}
		if current != nil {
			want = current.Map()
		}
		maps.Copy(want, data)
		for name, tt := range map[string]struct {
			make func(values) (*Delta, error)
			want values
		}{"Add": {add, want}, "Replace": {Replace, data}} {
			d, err := tt.make(data)
			if err != nil {
				t.Fatal(err)
			}
			next, err := d.Apply(current)
			if err != nil || next == nil || !equal(next, tt.want) {
				t.Fatalf("%s: Apply = %v, %v; want %v", name, next, err, tt.want)
			}
			if d.Empty() || d.Base() != nil || d.Replaces() != (name == "Replace") {
				t.Fatalf("%s: Empty = %v, Base = %v, Whole = %v", name, d.Empty(), d.Base(), d.Replaces())
			}
		}
	})
}

func TestApplyToASessionThatIsGone(t *testing.T) {
	loaded := Adopt(values{"user": 1, "cart": 2})
	for name, tt := range map[string]struct {
		base    *Snapshot
		data    values
		want    values
		revoked bool
	}{
		"unchanged":                {base: loaded, data: values{"user": 1, "cart": 2}, revoked: true},
		"one key changed":          {base: loaded, data: values{"user": 1, "cart": 3}, revoked: true},
		"all keys changed":         {base: loaded, data: values{"user": 3, "cart": 3}, revoked: true},
		"one key kept":             {base: loaded, data: values{"user": 1, "new": 1}, revoked: true},
		"all keys removed":         {base: loaded, data: values{}},
		"cleared and filled again": {base: loaded, data: values{"new": 1}, want: values{"new": 1}},
		"nothing was loaded":       {base: nothing, data: values{"new": 1}, want: values{"new": 1}},
	} {
		for state, current := range map[string]*Snapshot{"absent": nil, "empty": nothing} {
			t.Run(name+" and "+state, func(t *testing.T) {
				next, err := mustDiff(t, tt.base, tt.data).Apply(current)
				if errors.Is(err, ErrRevoked) != tt.revoked || !tt.revoked && err != nil {
					t.Fatalf("Apply = %v, %v", next, err)
				}
				wantData(t, next, tt.want)
				removed := removedHash(1)
				next, err = mustDiff(t, tt.base, tt.data, change.Removal{Of: &removed, Hash: 1}).Apply(Adopt(values{"other": 1, "user": 4}))
				if errors.Is(err, ErrRevoked) != tt.revoked || !tt.revoked && err != nil {
					t.Fatalf("after the removal, beside a new session: %v, %v", next, err)
				}
				if tt.want != nil {
					want := values{"other": 1, "user": 4}
					maps.Copy(want, tt.data)
					wantData(t, next, want)
				} else if next != nil {
					t.Errorf("after the removal: %v", next)
				}
			})
		}
	}
}

// A value that would be written as the same bytes is unchanged.
func TestEqualValues(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		a, b any
		want bool
	}{
		"times":                {now, now, true},
		"types of number":      {1, int64(1), false},
		"nil and a nil map":    {nil, values(nil), false},
		"nil and empty":        {[]any(nil), []any{}, false},
		"nested":               {values{"a": []any{1}}, values{"a": []any{1}}, true},
		"nested change":        {values{"a": []any{1}}, values{"a": []any{2}}, false},
		"behind pointers":      {&point{1, 2}, &point{1, 2}, true},
		"change behind one":    {&point{1, 2}, &point{1, 3}, false},
		"scalar and container": {1, []any{1}, false},
	} {
		if d := mustDiff(t, Adopt(values{"k": tt.a}), values{"k": tt.b}); d.Empty() != tt.want {
			t.Errorf("%s: the delta is empty = %v", name, d.Empty())
		}
	}
}

func TestDeltaSharesNothing(t *testing.T) {
	for name, make := range map[string]func(values) (*Delta, error){
		"Replace": Replace, "Add": add, "Diff": func(data values) (*Delta, error) { return Diff(nothing, data) },
	} {
		data := nestedData()
		d, err := make(data)
		if err != nil {
			t.Fatal(err)
		}
		spoil(data)
		next, err := d.Apply(nil)
		if err != nil || !equal(next, nestedData()) || !equal(d.Set(), nestedData()) {
			t.Errorf("%s: the delta changed with the request's data: %v, %v", name, next, err)
		}
		next["user"] = "three"
		if again, _ := d.Apply(nil); !equal(again, nestedData()) {
			t.Errorf("%s: two outcomes are one map", name)
		}
	}
	current := Adopt(values{"a": 1})
	next, err := mustDiff(t, current, values{"a": 2}).Apply(current)
	if err != nil || current.Get("a") != 1 {
		t.Error("Apply changed the snapshot")
	}
	next["a"] = 3
	wantData(t, current.Map(), values{"a": 1})
}

// An addition and an inquiry aren't empty deltas.
func TestRereadChangesNothingAndIsNotEmpty(t *testing.T) {
	base := Adopt(values{"a": 1})
	d := Inquiry(base)
	if d.Empty() {
		t.Error("a reread is empty")
	}
	next, err := d.Apply(Adopt(values{"b": 2}))
	if err != nil || !equal(next, values{"b": 2}) {
		t.Errorf("Apply = %v, %v", next, err)
	}
	if _, err = d.Apply(nil); !errors.Is(err, ErrRevoked) {
		t.Errorf("Apply to nothing: %v", err)
	}
}

// removedHash is that of the one session that was removed.
type removedHash uint64

func (r *removedHash) Removed(hash, _ uint64) bool { return uint64(*r) == hash }

// Thousands of changes may be joined before the store takes them: their list of removals doesn't grow
// with them.
func TestJoinedDeltasShareTheirRemovals(t *testing.T) {
	var removed removedHash
	base := Adopt(map[string]any{"k": 1})
	changed := func(n int) *Delta {
		return mustDiff(t, base, values{"k": 1, "n": n}, change.Removal{Of: &removed, Hash: 1})
	}
	joined := changed(0)
	removed = 2
	for n := range 100 {
		var ok bool
		if joined, ok = joined.Merge(changed(n)); !ok {
			t.Fatal("the changes don't join")
		}
	}
	if n := len(joined.change.Removals); n != 1 {
		t.Errorf("%d lookouts after a hundred joins, want one", n)
	}
	if joined.change.IsRevoked() {
		t.Error("another session's removal counts")
	}
	removed = 1
	if !joined.change.IsRevoked() {
		t.Error("the session's removal doesn't count")
	}
}

// NaN equals nothing, and yet a close that leaves it as it was writes nothing.
func TestNaNIsNoChange(t *testing.T) {
	base := Adopt(map[string]any{"a": math.NaN(), "b": float32(math.NaN()), "c": 1.5})
	d, err := Diff(base, base.Map())
	if err != nil || !d.Empty() {
		t.Errorf("an unchanged close sets %v, %v", d.Set(), err)
	}
	d, err = Diff(base, map[string]any{"a": 1.0, "b": float32(math.NaN()), "c": math.NaN()})
	if err != nil || len(d.Set()) != 2 {
		t.Errorf("a close that changes two keys sets %v, %v", d.Set(), err)
	}
}

// Mapped values are known if they are texts, whatever they were made of.
func TestMappedTextsArePreviewed(t *testing.T) {
	for name, want := range map[string]bool{"a text": true, "a number": false} {
		delta, err := Add(map[string]any{"k": 1})
		if err != nil {
			t.Fatal(err)
		}
		mapped, err := delta.MapValues(func(string, any) (any, error) {
			if want {
				return "1", nil
			}
			return 1, nil
		}, func(_ string, v any) (any, error) { return v, nil })
		if err != nil || mapped.CanPreview() != want {
			t.Errorf("%s: %v, %v", name, mapped.CanPreview(), err)
		}
	}
}
