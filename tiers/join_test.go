package tiers

import (
	"errors"
	"maps"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// A joined delta must do what its two do one after the other, and its outcome must be
// that of both.
func TestJoinIsOneAfterTheOther(t *testing.T) {
	session := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.IntRange(0, 2), 0, 3)
	anyMap := func(m map[string]int) map[string]any {
		data := map[string]any{}
		for key, value := range m {
			data[key] = value
		}
		return data
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *Delta {
			data := anyMap(session.Draw(t, label))
			var (
				d   *Delta
				err error
			)
			switch rapid.IntRange(0, 2).Draw(t, label+" kind") {
			case 0:
				d, err = Replace(data)
			case 1:
				d, err = Add(data)
			default:
				d, err = Diff(Adopt(anyMap(session.Draw(t, label+" base"))), data)
			}
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		first, later := draw("first"), draw("later")
		joined, ok := first.Join(later)
		if !ok {
			t.Skip()
		}
		current := func() *Snapshot {
			if !rapid.Bool().Draw(t, "there") {
				return nil
			}
			return Adopt(anyMap(session.Draw(t, "current")))
		}()

		got, gotErr := joined.Apply(current)
		middle, firstErr := first.Apply(current)
		if firstErr == nil && len(middle) == 0 && later.loaded() {
			return // the first left nothing: joined stands for the other order
		}
		if (gotErr != nil) != (firstErr != nil) || gotErr != nil && !errors.Is(gotErr, ErrRevoked) {
			t.Fatalf("joined answers %v, the first of the two %v", gotErr, firstErr)
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
			t.Fatalf("the second of the two answers %v, joined doesn't", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("joined gives %v, one after the other %v", got, want)
		}
	})
}
