package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock   = regexp.MustCompile("(?ms)^```.*?^```$")
	optionRow   = regexp.MustCompile("(?m)^\\| `([\\w.]+)` \\| (`[^|]+`) \\|")
	codeSpan    = regexp.MustCompile("`[^`]+`")
	pointLine   = regexp.MustCompile(`(?m)^(#+|\||-) .*(?:\n  .*)*`)
	commentLine = regexp.MustCompile(`(?m)^\s*(//|#).*\n|\s+(//|#) .*$`)
)

// Both languages show the same code, have the same headings, rows and items, and link to each other.
func TestChinesePagesMatchTheEnglishOnes(t *testing.T) {
	for _, page := range chinesePages(t) {
		other := filepath.Join("../../docs", filepath.Base(page))
		if name, ok := strings.CutSuffix(page, ".zh-CN.md"); ok {
			other = name + ".md"
		}
		zh, en := read(t, page), read(t, other)
		if a, b := code(zh), code(en); !slices.Equal(a, b) {
			t.Errorf("%s and %s show other code:\n%q\n%q", page, other, a, b)
		}
		a, b := points(zh), points(en)
		if len(a) != len(b) {
			t.Errorf("%s has %d headings, rows and items, %s %d", page, len(a), other, len(b))
		}
		for n := range min(len(a), len(b)) {
			if a[n].kind != b[n].kind || !names(a[n].text, codeSpan.FindAllString(b[n].text, -1)) {
				t.Errorf("%s has %q where %s has %q", page, a[n].text, other, b[n].text)
				break
			}
		}
		for from, to := range map[string]string{page: other, other: page} {
			link, err := filepath.Rel(filepath.Dir(from), to)
			if err != nil || !strings.Contains(read(t, from), "]("+filepath.ToSlash(link)+")") {
				t.Errorf("%s has no link to %s", from, to)
			}
		}
	}
}

// Chinese text has Chinese punctuation.
func TestChinesePagesHaveChinesePunctuation(t *testing.T) {
	half := regexp.MustCompile(`\p{Han}[,;:?!()]|[,;:?!()]\p{Han}|\w\?(?:\n|$)`)
	for _, page := range append(chinesePages(t), "../../examples/shop/texts.json") {
		// A code span stands in a sentence as a word does, and comments of blocks of code are text as well.
		text := regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(codeSpan.ReplaceAllString(strings.ReplaceAll(read(t, page), "```", ""), "字"), "]")
		for _, line := range strings.Split(text, "\n") {
			if found := half.FindString(line); found != "" {
				t.Errorf("%s: %q in %.60q has half-width punctuation", page, found, line)
			}
		}
	}
}

func chinesePages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"*.zh-CN.md", "docs/zh/*.md"} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil || len(found) == 0 {
			t.Fatal("no pages are", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// code is the blocks of a page without their comments, which are in the page's language.
func code(page string) (blocks []string) {
	for _, block := range codeBlock.FindAllString(page, -1) {
		blocks = append(blocks, commentLine.ReplaceAllString(block, ""))
	}
	return blocks
}

// A point is a heading, a row of a table, or an item of a list with its further lines.
type point struct{ kind, text string }

func points(page string) (all []point) {
	for _, p := range pointLine.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		all = append(all, point{p[1], p[0]})
	}
	return all
}

// names reports whether a Chinese text has all code spans of the English one.
func names(text string, spans []string) bool {
	return !slices.ContainsFunc(spans, func(span string) bool {
		return !strings.Contains(strings.ReplaceAll(text, "docs/zh/", "docs/"), span)
	})
}
