package telemetry_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/gf-strata/strata/telemetry"
)

// The newest section of the changelog is that of the version which spans and metrics carry.
func TestVersionIsTheChangelogs(t *testing.T) {
	content, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## \[(\d[^\]]*)\]`).FindSubmatch(content)
	if newest == nil || string(newest[1]) != telemetry.Version {
		t.Errorf("the changelog's newest version is %s, not %s", newest, telemetry.Version)
	}
}
