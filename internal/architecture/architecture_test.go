// Package architecture holds the folder list to what docs/architecture.md says of it.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gf-strata/strata"

// pkg is what `go list -json` says of a package, without its tests.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func (p pkg) name() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// testOnly are packages that a program which uses Strata must not get.
var testOnly = []string{"testing", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/stretchr/testify"}

// forTests are internal packages that only tests import.
var forTests = []string{"internal/leaktest", "internal/poll", "internal/program", "internal/redistest", "internal/teststore"}

// breaches lists what a package does that the architecture forbids.
func breaches(p pkg) (found []string) {
	name := p.name()
	under := func(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }
	product := !under(name, "internal") && !under(name, "layer/layertest")
	if slices.Contains([]string{"util", "utils", "common", "helpers"}, filepath.Base(name)) {
		found = append(found, "is named for nothing")
	}
	if name == "tiers" && len(p.GoFiles) > 10 {
		found = append(found, "is read in one sitting, and has more than ten files")
	}
	if len(p.GoFiles) > 14 {
		found = append(found, "has more than 14 files")
	}
	for _, path := range p.Imports {
		ours, ok := strings.CutPrefix(path, module+"/")
		if !ok {
			continue
		}
		switch {
		case under(name, "layer/layertest"):
			found = append(found, "imports Strata: the suite is for anybody's storage")
		case slices.Contains(forTests, ours) && product:
			found = append(found, "imports "+ours+", which is for tests")
		case under(ours, "layer") && !under(name, "examples") && !under(name, "layer"):
			found = append(found, "imports the roof")
		case under(name, "decorators") && under(ours, "decorators") && !under(ours, name):
			found = append(found, "is a decorator and imports another")
		case under(name, "tiers") && under(ours, "decorators"):
			found = append(found, "is a tier and imports a decorator")
		case name == "tiers" && ours != "telemetry" && ours != "internal/value" && ours != "internal/change":
			found = append(found, "is the contract and imports "+ours)
		case under(name, "telemetry"):
			found = append(found, "is the floor and imports "+ours)
		}
	}
	if product {
		for _, path := range p.Deps {
			if slices.Contains(testOnly, path) {
				found = append(found, "depends on "+path)
			}
		}
	}
	return found
}

func TestImportsRunDown(t *testing.T) {
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		for _, breach := range breaches(p) {
			t.Errorf("%s %s", p.name(), breach)
		}
	}
}

// A check that can't fail proves nothing.
func TestBreachesAreFound(t *testing.T) {
	for _, p := range []pkg{
		{ImportPath: module + "/tiers/util"},
		{ImportPath: module + "/layer/layertest", Imports: []string{module + "/tiers"}},
		{ImportPath: module + "/tiers/local", Imports: []string{module + "/internal/teststore"}},
		{ImportPath: module + "/tiers", Imports: []string{module + "/layer"}},
		{ImportPath: module + "/decorators/a", Imports: []string{module + "/decorators/b"}},
		{ImportPath: module + "/tiers/local", Imports: []string{module + "/decorators/a"}},
		{ImportPath: module + "/tiers", Imports: []string{module + "/internal/sessionmap"}},
		{ImportPath: module + "/tiers", GoFiles: make([]string, 11)},
		{ImportPath: module + "/tiers/local", GoFiles: make([]string, 15)},
		{ImportPath: module + "/telemetry", Imports: []string{module + "/tiers"}},
		{ImportPath: module + "/layer", Deps: []string{"testing"}},
	} {
		if len(breaches(p)) != 1 {
			t.Errorf("%s %v: %v", p.name(), p.Imports, breaches(p))
		}
	}
	for _, p := range []pkg{
		{ImportPath: module + "/layer", Imports: []string{module + "/tiers"}, Deps: []string{"context"}},
		{ImportPath: module + "/decorators/a", Imports: []string{module + "/decorators/a/part"}},
	} {
		if found := breaches(p); found != nil {
			t.Errorf("%s %v: what is allowed is forbidden: %v", p.name(), p.Imports, found)
		}
	}
}

// sources are the Go files of all modules.
func sources(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." && path != "../.." {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
