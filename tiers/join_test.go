package tiers

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gf-strata/strata/internal/change"
)

// A joined delta must do what its two do one after the other, and its outcome must be
// that of both.
func TestAJoinedDeltaDoesWhatItsTwoDo(t *testing.T) {
	value := rapid.OneOf(rapid.Map(rapid.IntRange(0, 2), func(n int) any { return n }), rapid.SampledFrom([]any{"x", "y"}))
	session := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), value, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.IntRange(0, 5)
		kind := kinds.Draw(t, "kind")
		alike := rapid.IntRange(0, 7).Draw(t, "alike") > 0 // most that aren't have no joined one
		draw := func(label string) *Delta {
			data := session.Draw(t, label)
			var (
				d   *Delta
				err error
			)
			if !alike {
				kind = kinds.Draw(t, label+" kind")
			}
			switch kind {
			case 0:
				d, err = Replace(data)
			case 1:
				d, err = Add(data)
			default:
				base := session.Draw(t, label+" base")
				if alike && len(base) > 0 { // one is kept, or it may be a new session
					kept := slices.Min(slices.Collect(maps.Keys(base)))
					data[kept] = base[kept]
				}
				d, err = Diff(Adopt(base), data)
			}
			if err == nil && rapid.Bool().Draw(t, label+" formed") {
				d, err = d.Previewed(PreviewJSON)
			}
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, label+" urgent") {
				d = d.AsUrgent()
			}
			if d.Empty() && rapid.Bool().Draw(t, label+" inquires") {
				d = Inquiry(d.Base())
			}
			if rapid.Bool().Draw(t, label+" recreates") {
				d = d.AsRecreating()
			}
			return d
		}
		first, later := draw("first"), draw("later")
		joined, ok := first.Merge(later)
		if !ok {
			t.Skip()
		}
		if joined.Urgent() != (first.Urgent() || later.Urgent()) || joined.Recreates() != (first.Recreates() || later.Recreates()) {
			t.Fatal("joined may be delayed, or isn't distinguished from an earlier session, and one of the two may not or is")
		}
		current := func() *Snapshot {
			if !rapid.Bool().Draw(t, "there") {
				return nil
			}
			return Adopt(session.Draw(t, "current"))
		}()

		got, gotErr := joined.Apply(current)
		middle, firstErr := first.Apply(current)
		if firstErr == nil && len(middle) == 0 && later.change.NeedsSession() {
			return // the first left nothing: joined stands for the other order
		}
		if (gotErr != nil) != (firstErr != nil) || gotErr != nil && !errors.Is(gotErr, ErrRevoked) {
			t.Fatalf("joined returns %v, the first of the two %v", gotErr, firstErr)
		}
		if gotErr != nil {
			return
		}
		var after *Snapshot
		if middle != nil {
			after = Adopt(maps.Clone(middle))
		}
		want, err := later.Apply(after)
		if err != nil {
			t.Fatalf("the second of the two returns %v, joined doesn't", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("joined gives %v, one after the other %v", got, want)
		}
		if joined.CanPreview() != (first.CanPreview() && later.CanPreview()) && first.change.Kind != change.Replace {
			t.Fatal("joined shows what one of the two doesn't, or not what both do")
		}
		if first.CanPreview() && joined.CanPreview() {
			if got, want := joined.Preview(current, false), later.Preview(first.Preview(current, false), false); !got.Same(want) {
				t.Fatal("joined shows what one after the other doesn't")
			}
		}
	})
}
