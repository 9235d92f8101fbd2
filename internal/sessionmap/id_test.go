package sessionmap_test

import (
	"regexp"
	"testing"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

func TestNewIDIsLongRandomAndSafe(t *testing.T) {
	safe := regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
	seen := map[string]bool{}
	for range 10_000 {
		id := sessionmap.NewID()
		if !safe.MatchString(id) || seen[id] {
			t.Fatal("an id isn't 22 safe characters, or came twice")
		}
		seen[id] = true
		if tiers.CheckID(id) != nil || sessionmap.CheckFileID(id) != nil {
			t.Fatal("an id can't be a session's")
		}
	}
}
