package architecture

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	warning = regexp.MustCompile(`\b(?:[wW]arn|Info)\(`)
	message = regexp.MustCompile(`"strata: ([^"]+)"`)
)

// writes finds what writes to a log.
var writes = regexp.MustCompile(`\b(?:g\.Log\(|glog\.|slog\.(?:Default|Debug|Info|Warn|Error|Log)\w*\(|log\.Print|\w*Logger\(\)\.)`)

// Only telemetry writes lines, on a goroutine of its own: nobody waits for a log that hangs.
func TestOnlyTelemetryWritesTheLog(t *testing.T) {
	for _, p := range list(t) {
		if p.name() == "telemetry" || strings.HasPrefix(p.name(), "examples") {
			continue
		}
		for _, name := range p.GoFiles {
			if found := writes.FindString(read(t, filepath.Join(p.Dir, name))); found != "" {
				t.Errorf("%s/%s has %s; take a telemetry.Reporter", p.name(), name, found)
			}
		}
	}
	if !writes.MatchString(read(t, "../../telemetry/log.go")) {
		t.Error("it isn't found where it is")
	}
}

// Each line that the log may have stands in docs/production.md, with what to do, in both
// languages.
func TestLogLinesAreDocumented(t *testing.T) {
	pages := []string{read(t, "../../docs/production.md"), read(t, "../../docs/zh/production.md")}
	found := 0
	for _, folder := range []string{"layer", "decorators", "tiers"} {
		err := filepath.WalkDir("../../"+folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			code := read(t, path)
			for _, call := range warning.FindAllStringIndex(code, -1) {
				// The message is the call's first or third argument.
				line := message.FindStringSubmatch(code[call[1]:min(call[1]+300, len(code))])
				if line == nil {
					continue
				}
				found++
				for _, page := range pages {
					if !strings.Contains(page, "| "+line[1]+" |") {
						t.Errorf("%s: %q isn't documented", path, line[1])
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 9 {
		t.Errorf("only %d lines of the log were found", found)
	}
}
