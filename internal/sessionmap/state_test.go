package sessionmap

import (
	"maps"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/gf-strata/strata/tiers"
)

// Whatever a close has committed, the next one is compared with what the map held then.
func TestTheNextCloseIsComparedWithTheLastOne(t *testing.T) {
	session := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.Map(rapid.IntRange(0, 2), func(n int) any { return n }), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		base, data := session.Draw(t, "base"), session.Draw(t, "data")
		diff, err := tiers.Diff(tiers.Adopt(base), data)
		if err != nil {
			t.Fatal(err)
		}
		add, _ := tiers.Add(data)
		replace, _ := tiers.Replace(data)
		for name, change := range map[string]*tiers.Delta{"diff": diff, "add": add, "replace": replace} {
			g := given{base: change.Base(), change: change}
			if state := g.state().Map(); !maps.EqualFunc(state, data, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
				t.Fatalf("%s: %v, want %v", name, state, data)
			}
		}
	})
}
