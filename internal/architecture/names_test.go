package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
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
