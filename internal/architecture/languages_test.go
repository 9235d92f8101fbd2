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
	headings    = regexp.MustCompile(`(?m)^#+ `)
	commentLine = regexp.MustCompile(`(?m)^\s*(//|#).*\n|\s+(//|#) .*$`)
)

// Both languages show the same code and the same options, have the same sections, and link to each other.
func TestChinesePagesMatchTheEnglishOnes(t *testing.T) {
	root := "../.."
	pages := chinesePages(t)
	english := func(page string) string { return filepath.Join(root, "docs", filepath.Base(page)) }
	if readme := filepath.Join(root, "README.zh-CN.md"); exists(readme) {
		pages = append(pages, readme)
	}
	for _, page := range pages {
		other := english(page)
		if filepath.Base(page) == "README.zh-CN.md" {
			other = filepath.Join(root, "README.md")
		}
		zh, en := read(t, page), read(t, other)
		if a, b := code(zh), code(en); !slices.Equal(a, b) {
			t.Errorf("%s and %s show other code:\n%q\n%q", page, other, a, b)
		}
		if a, b := options(zh), options(en); !slices.Equal(a, b) {
			t.Errorf("%s and %s list other options:\n%q\n%q", page, other, a, b)
		}
		if a, b := sections(zh), sections(en); !slices.Equal(a, b) {
			t.Errorf("%s has %d sections, %s %d", page, len(a), other, len(b))
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
	for _, page := range append(chinesePages(t), "../../README.zh-CN.md", "../../examples/shop/texts.json") {
		// A code span stands in a sentence as a word does, and comments of blocks of code are text as well.
		text := regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(codeSpan.ReplaceAllString(strings.ReplaceAll(read(t, page), "```", ""), "字"), "]")
		for _, line := range strings.Split(text, "\n") {
			if found := half.FindString(line); found != "" {
				t.Errorf("%s: %q in %.60q has half-width punctuation", page, found, line)
			}
		}
	}
}

func chinesePages(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/zh/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no Chinese pages", err)
	}
	return pages
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

// sections are the levels of a page's headings.
func sections(page string) []string {
	return headings.FindAllString(codeBlock.ReplaceAllString(page, ""), -1)
}

// options are the rows of option tables, without what they mean. Defaults that are words
// aren't compared.
func options(page string) (rows []string) {
	for _, row := range optionRow.FindAllStringSubmatch(page, -1) {
		rows = append(rows, row[1]+"."+strings.Join(codeSpan.FindAllString(row[2], -1), ""))
	}
	return rows
}
