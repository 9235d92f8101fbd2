package architecture

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	// figure is a digit with a unit that something was measured in.
	figure = regexp.MustCompile(`[0-9][0-9.,]*\s?(?:ns|µs|ms|s|MiB|KiB|GiB|%|times|x)(?:[^\w/]|$)|[0-9]\.[0-9]+[^.|]{0,20} a request`)
	// command is how a reader gets the figure: a target of the Makefile, a benchmark or a test.
	command = regexp.MustCompile("`[^`]*(?:make (?:bench|nodes|gobench)|(Benchmark\\w+|Test\\w+)|-bench (\\w+))[^`]*`")
)

// settings are figures that were chosen: defaults of options, and constants.
var settings = []string{
	"5 s", "1 s", "3 s", "2 s", "500 ms", "250 ms", "100 ms", "50 ms", "25 ms", "20 ms", "10 ms", "30 s", "64 MiB", "512 MiB",
}

// unfounded are the figures in prose that are no settings, and whose paragraph names no command.
func unfounded(t *testing.T, page string) (found []string) {
	functions := regexp.MustCompile(`(?m)^func ((?:Benchmark|Test)\w+)`)
	for _, paragraph := range strings.Split(codeBlock.ReplaceAllString(page, ""), "\n\n") {
		measured := slices.DeleteFunc(figure.FindAllString(paragraph, -1), func(f string) bool {
			return slices.Contains(settings, strings.TrimRightFunc(f, func(c rune) bool { return c != '%' && (c > unicode.MaxASCII || !unicode.IsLetter(c)) }))
		})
		if len(measured) == 0 {
			continue
		}
		is := command.FindStringSubmatch(paragraph)
		if is == nil {
			found = append(found, measured...)
			continue
		}
		if name := is[1] + is[2]; name != "" && !slices.ContainsFunc(allTests(t, functions), func(f string) bool { return strings.Contains(f, name) }) {
			found = append(found, name+", which doesn't exist")
		}
	}
	return found
}

// allTests are the names of all tests and benchmarks.
func allTests(t *testing.T, functions *regexp.Regexp) (names []string) {
	for _, path := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			for _, f := range functions.FindAllStringSubmatch(read(t, path), -1) {
				names = append(names, f[1])
			}
		}
	}
	return names
}

// pages are all that a user reads.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/zh/*.md"} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func TestFiguresHaveTheirCommand(t *testing.T) {
	for _, page := range pages(t) {
		for _, f := range unfounded(t, read(t, page)) {
			t.Errorf("%s: %q: name the command that measures it in its paragraph, take it out, or list it as a setting", page, f)
		}
	}
}

func TestUnfoundedFiguresAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"A hit takes 300 ns.": 1, "It costs 0.03 reads of Redis a request.": 1, "It is 1.4 times as fast, in 3.2 µs.": 2, "One in 12 % (`BenchmarkNobodyWrote`).": 1,
		"A hit takes 300 ns (`BenchmarkHandOut`).": 0, "It waits 5 s.": 0, "`make bench`: 3 % of 12 MiB": 0, "12 sessions of 3 users": 0,
	} {
		if found := unfounded(t, text); len(found) != want {
			t.Errorf("%q: %q, want %d", text, found, want)
		}
	}
}
