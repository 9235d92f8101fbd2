package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// exported are the exported names of a folder's package, without methods.
func exported(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(name *ast.Ident) {
		if name.IsExported() {
			names = append(names, name.Name)
		}
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							add(name)
						}
					}
				}
			}
		}
	}
	return names
}

// Each exported name of layer has an Example, or stands in the README or a page of the docs.
func TestEveryNameOfLayerIsShown(t *testing.T) {
	var shown strings.Builder
	files, err := filepath.Glob("../../layer/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`(?m)^func Example(\w+)\(\)`)
	for _, path := range files {
		for _, m := range examples.FindAllStringSubmatch(read(t, path), -1) {
			shown.WriteString("`" + strings.ReplaceAll(m[1], "_", " ") + "` ")
		}
	}
	for _, path := range files {
		if strings.HasPrefix(filepath.Base(path), "example_") {
			shown.WriteString(read(t, path))
		}
	}
	for _, page := range pages(t) {
		shown.WriteString(read(t, page))
	}
	names := exported(t, "../../layer")
	if len(names) < 40 {
		t.Fatalf("only %d names were found", len(names))
	}
	for _, name := range names {
		// A name in a code span or block.
		if !regexp.MustCompile("[`.]" + name + "[^\\w]").MatchString(shown.String()) {
			t.Errorf("layer.%s has no Example, and no line in the README or docs", name)
		}
	}
}

// Each option has one row in the table of docs/options.md, which languages_test.go compares with the Chinese one.
func TestEachOptionHasARow(t *testing.T) {
	returns := regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(.*\) \w*Option \{`)
	var names []string
	for _, folder := range []string{"layer", "layer/web", "tiers/redisstore"} {
		files, err := filepath.Glob("../../" + folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, m := range returns.FindAllStringSubmatch(read(t, path), -1) {
				names = append(names, m[1])
			}
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %q were found", names)
	}
	var rows strings.Builder
	for _, row := range optionRow.FindAllStringSubmatch(read(t, "../../docs/options.md"), -1) {
		rows.WriteString(row[2])
	}
	for _, name := range names {
		if n := strings.Count(rows.String(), "`"+name+"("); n != 1 {
			t.Errorf("%s has %d rows", name, n)
		}
	}
}

// docs/architecture.md follows a request through functions that are there, and few of them.
func TestTheRequestsPathIsThere(t *testing.T) {
	page := read(t, "../../docs/architecture.md")
	_, section, ok := strings.Cut(page, "\n## One request, file by file\n")
	if !ok {
		t.Fatal("there is no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	most := map[string]int{"A hit": 10, "A synchronous write": 20}
	paths := strings.Split(section, "\n### ")[1:]
	if len(paths) < 5 {
		t.Errorf("only %d paths", len(paths))
	}
	for _, path := range paths {
		name, _, _ := strings.Cut(path, "\n")
		steps := regexp.MustCompile("(?m)^\\d+\\. `([\\w/.]+):(\\w+)`").FindAllStringSubmatch(path, -1)
		if bound, ok := most[name]; len(steps) == 0 || ok && len(steps) > bound {
			t.Errorf("%s has %d functions", name, len(steps))
		}
		for _, step := range steps {
			content, err := os.ReadFile("../../" + step[1])
			if err != nil || !regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?`+step[2]+`[\[(]`).Match(content) {
				t.Errorf("%s: %s has no %s", name, step[1], step[2])
			}
		}
	}
}
