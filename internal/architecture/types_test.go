package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	mostMethods = 40 // of a type
	mostFiles   = 2  // that a type's methods are in
)

// wide are the types with methods in more files than others, and why.
var wide = map[string]string{
	"layer/layertest.env": "it is what the laws are written with, and each law is a file",
}

// parsed are a folder's files without tests, by their names.
func parsed(t *testing.T, folder string) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if files[filepath.Base(path)], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// receivers counts the methods of each type by the files that they are in.
func receivers(files map[string]*ast.File) map[string]map[string]int {
	all := map[string]map[string]int{}
	for path, file := range files {
		for _, d := range file.Decls {
			method, ok := d.(*ast.FuncDecl)
			if !ok || method.Recv == nil {
				continue
			}
			name := ""
			ast.Inspect(method.Recv.List[0].Type, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && name == "" {
					name = id.Name
				}
				return true
			})
			if all[name] == nil {
				all[name] = map[string]int{}
			}
			all[name][path]++
		}
	}
	return all
}

// spread says what is wrong with a type's methods, "" for nothing.
func spread(name string, methods map[string]int) string {
	count := 0
	for _, n := range methods {
		count += n
	}
	switch {
	case count > mostMethods:
		return fmt.Sprintf("%s has %d methods, more than %d", name, count, mostMethods)
	case len(methods) > mostFiles && wide[name] == "":
		return fmt.Sprintf("%s has methods in %d files, more than %d: %v", name, len(methods), mostFiles, methods)
	}
	return ""
}

func TestATypeHasFewMethodsAndTheyAreTogether(t *testing.T) {
	for _, p := range list(t) {
		for name, methods := range receivers(parsed(t, p.Dir)) {
			if wrong := spread(p.name()+"."+name, methods); wrong != "" {
				t.Error(wrong)
			}
		}
	}
	if spread("a.T", map[string]int{"a.go": 41}) == "" || spread("a.T", map[string]int{"a.go": 1, "b.go": 1, "c.go": 1}) == "" ||
		spread("a.T", map[string]int{"a.go": 39, "b.go": 1}) != "" {
		t.Error("a type that is too large isn't found, or one that isn't is")
	}
}

// mutexes counts the mutexes that a package's types and variables have.
func mutexes(files map[string]*ast.File) (count int) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok {
				return true
			}
			if is, ok := field.Type.(*ast.SelectorExpr); ok && (is.Sel.Name == "Mutex" || is.Sel.Name == "RWMutex") {
				count += max(1, len(field.Names))
			}
			return true
		})
	}
	return count
}

// unordered are packages with several mutexes whose order isn't written: examples, and those that
// only tests use.
var unordered = []string{"examples/shop", "internal/redistest", "internal/teststore"}

// A package with several mutexes says in which order they are taken, in a paragraph that begins
// with "Lock order:", or says so in a sentence.
func TestTheLockOrderIsWritten(t *testing.T) {
	for _, p := range list(t) {
		files := parsed(t, p.Dir)
		count, written := mutexes(files), false
		for _, file := range files {
			for _, group := range file.Comments {
				for _, begins := range []string{"Lock order: ", "Locks are taken in this order: "} {
					written = written || strings.Contains("\n"+group.Text(), "\n"+begins)
				}
			}
		}
		if count > 1 && !written && !slices.Contains(unordered, p.name()) {
			t.Errorf("%s has %d mutexes; write their order in a paragraph that begins with \"Lock order:\"", p.name(), count)
		}
	}
}
