package report

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// quotes are the figures of bench/results that pages for users quote: the page, the sentence that has to be there, the figure
// that it says, the step to which it is rounded, and the cell of bench/results/README.md that it comes from.
var quotes = []struct {
	page, sentence string
	says, step     float64
	row, column    string
}{
	{"README.md", "twice as many a second", 2, 1, "ghttp, read 2 of 10 keys", "Strata is"},
	{"README.zh-CN.md", "经 ghttp 读取时的每秒请求数 | 1 | 约 2", 2, 1, "ghttp, read 2 of 10 keys", "Strata is"},
	{"README.md", "(`make bench`) | 1.05 | 0.24 |", 1.05, 0.01, "Zipf(1.01), 95 % reads", "commands: StorageRedis"},
	{"README.md", "(`make bench`) | 1.05 | 0.24 |", 0.24, 0.01, "Zipf(1.01), 95 % reads", "Strata"},
	{"README.zh-CN.md", "（`make bench`） | 1.05 | 0.24 |", 1.05, 0.01, "Zipf(1.01), 95 % reads", "commands: StorageRedis"},
	{"README.zh-CN.md", "（`make bench`） | 1.05 | 0.24 |", 0.24, 0.01, "Zipf(1.01), 95 % reads", "Strata"},
	{"docs/faq.md", "about two and a half times its JSON", 2.5, 0.5, "memory of a cached 10-key session over its JSON", "found"},
	{"docs/zh/faq.md", "大约占其 JSON 的两倍半", 2.5, 0.5, "memory of a cached 10-key session over its JSON", "found"},
}

// results are the cells of the committed run by row and column. Of two columns of one name, as "Strata" is one of requests
// and one of commands, the last counts.
func results(t *testing.T) map[[2]string]string {
	t.Helper()
	cells := map[[2]string]string{}
	var head []string
	for _, line := range strings.Split(read(t, "../results/README.md"), "\n") {
		if !strings.HasPrefix(line, "| ") {
			head = nil
			continue
		}
		row := strings.Split(strings.Trim(line, "| "), " | ")
		if head == nil {
			head = row
		}
		for n, cell := range row {
			if n < len(head) {
				cells[[2]string{row[0], head[n]}] = cell
			}
		}
	}
	return cells
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A page that quotes a figure says what the committed run has found.
func TestQuotedFiguresAreThoseOfTheResults(t *testing.T) {
	cells := results(t)
	for _, q := range quotes {
		if !strings.Contains(strings.Join(strings.Fields(read(t, filepath.Join("../..", q.page))), " "), q.sentence) {
			t.Errorf("%s no longer has the words %q: change them in quotes of this test, too", q.page, q.sentence)
		}
		cell := cells[[2]string{q.row, q.column}]
		found, err := strconv.ParseFloat(regexp.MustCompile(`^<?([0-9.]*)`).FindStringSubmatch(cell)[1], 64)
		if err != nil {
			t.Errorf("bench/results/README.md has no figure in row %q, column %q: %q", q.row, q.column, cell)
			continue
		}
		if strings.HasSuffix(cell, "slower") {
			found = 1 / found
		}
		if math.Abs(math.Round(found/q.step)*q.step-q.says) > q.step/100 {
			t.Errorf("%s says %q, and bench/results/README.md has %s in row %q, column %q: change the sentence, in all languages, and this test's",
				q.page, q.sentence, cell, q.row, q.column)
		}
	}
}

// The run in short, from which figures are quoted, is that of the page beside it: there is one.
func TestResultsAreOfOneRun(t *testing.T) {
	pages, err := filepath.Glob("../results/*.html")
	if err != nil || len(pages) != 1 {
		t.Fatalf("%v, %v: bench/results has one page", pages, err)
	}
	if name := filepath.Base(pages[0]); !strings.Contains(read(t, "../results/README.md"), "]("+name+")") {
		t.Errorf("bench/results/README.md isn't of the run of %s: run make bench", name)
	}
}
