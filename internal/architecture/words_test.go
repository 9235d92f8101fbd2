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

// retired are the words for which the glossary of docs/architecture.md has another one, and
// sentences whose subject is a question word.
var retired = regexp.MustCompile(`\b(?:[Aa]nswers|answered|(?:\w+n't|not|to|must|would|can|will) answer|tells?|told|[Hh]ears?|heard|outdate[sd]?|announc(?:e|es|ed|er|ing|ements?)|parcels?|lanes?|echoes|patience|whoever|[Ss]omebody)\b` +
	`|(?:^|[.:;] )(?:Who|Whoever|Nobody|What)\b`)

// renamed are the same words as a part of an identifier.
var renamed = regexp.MustCompile(`(?:^|[a-z0-9])(?:T(?:ells?|old)|Hear(?:s|d)?|Outdate[sd]?|Announc(?:e|es|ed|er|ing|ements?)|Parcels?|Lanes?|Echo(?:es)?|Patience|Whoever|Somebody)(?:[A-Z]|$)` +
	`|^(?:tells?|told|hears?|heard|outdate[sd]?|announc(?:e|es|ed|er|ing|ements?)|parcels?|lanes?|echo(?:es)?|patience|whoever|somebody)(?:[A-Z]|$)`)

// attribute is one of a metric with its values, which are what they are.
var attribute = regexp.MustCompile(`\w+\.\w+=\S+`)

// comments are those of a file, one line each.
func comments(t *testing.T, path string) (lines map[string]string) {
	t.Helper()
	lines = map[string]string{}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Comments {
		lines[set.Position(group.Pos()).String()] = strings.Join(strings.Fields(attribute.ReplaceAllString(group.Text(), "")), " ")
	}
	return lines
}

// All modules of the repository, with their tests.
func TestCommentsUseTheGlossarysWords(t *testing.T) {
	found := 0
	for _, path := range sources(t) {
		for at, text := range comments(t, path) {
			found++
			for _, word := range retired.FindAllString(text, -1) {
				t.Errorf("%s: %q: see the glossary of docs/architecture.md", at, word)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d comments were found", found)
	}
}

// The same of the prose of all English pages.
func TestPagesUseTheGlossarysWords(t *testing.T) {
	for _, page := range pages(t) {
		for _, paragraph := range strings.Split(codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(read(t, page), ""), "code"), "\n\n") {
			for _, word := range retired.FindAllString(strings.Join(strings.Fields(paragraph), " "), -1) {
				t.Errorf("%s: %q in %.60q: see the glossary of docs/architecture.md", page, word, paragraph)
			}
		}
	}
}

// given are texts with one of the words that others have named: an attribute's value, a key of the bench's results, an
// element of a page, the name of a pipe. The patterns of this package have them as well.
var given = []string{`"outdated"`, "`json:\"outdated\"`", `"answers"`, `"heard"`, `getElementById("heard")`}

// Nor is one of the words in a name that is declared, or in a text: of an error, of the log, of a page, of a test's
// failure. A name that another package has declared stands behind a dot.
func TestNamesAndTextsUseTheGlossarysWords(t *testing.T) {
	for _, path := range sources(t) {
		if strings.Contains(filepath.ToSlash(path), "internal/architecture/") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var check func(n ast.Node) bool
		check = func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				ast.Inspect(n.X, check)
				return false
			case *ast.Ident:
				if renamed.MatchString(n.Name) {
					t.Errorf("%s: %s: see the glossary of docs/architecture.md", set.Position(n.Pos()), n.Name)
				}
			case *ast.BasicLit:
				text := n.Value
				for _, known := range given {
					text = strings.ReplaceAll(text, known, "")
				}
				if word := retired.FindString(text); word != "" {
					t.Errorf("%s: %q in %s: see the glossary of docs/architecture.md", set.Position(n.Pos()), word, n.Value)
				}
			}
			return true
		}
		ast.Inspect(file, check)
	}
	for name, want := range map[string]bool{"tell": true, "toldOf": true, "InvalidatedByEcho": true, "errTold": true, "Heartbeats": false, "planEnd": false, "notify": false} {
		if renamed.MatchString(name) != want {
			t.Errorf("%s: %v, want %v", name, !want, want)
		}
	}
}

func TestRetiredWordsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"It returns what the store holds.": 0, "Load answers from memory.": 1, "It is told. Who waits is told.": 3, "an answer that was lost": 0, "It doesn't answer.": 1,
		"Nobody waits.": 1, "It says: What is there stays.": 1, "a lane and its patience, announced": 3,
	} {
		if found := retired.FindAllString(text, -1); len(found) != want {
			t.Errorf("%q: %q, want %d", text, found, want)
		}
	}
}
