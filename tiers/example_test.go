package tiers_test

import (
	"errors"
	"fmt"

	"github.com/gf-strata/strata/tiers"
)

// A request's changes are merged with those that others have committed meanwhile.
func ExampleDiff() {
	base, _ := tiers.NewSnapshot(map[string]any{"user": "john", "theme": "light"})
	delta, _ := tiers.Diff(base, map[string]any{"user": "john", "theme": "dark"})

	meanwhile, _ := tiers.NewSnapshot(map[string]any{"user": "john", "theme": "light", "cart": "full"})
	fmt.Println(delta.Apply(meanwhile))

	_, err := delta.Apply(nil) // logged out meanwhile
	fmt.Println(errors.Is(err, tiers.ErrRevoked))
	// Output:
	// map[cart:full theme:dark user:john] <nil>
	// true
}
