package report

import (
	"bytes"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/bench/peers"
	"github.com/gf-strata/strata/bench/stats"
	"github.com/gf-strata/strata/bench/worker"
)

// run has every subject in every workload that a goal is about, with Strata's speed and
// the others' of the test's choice.
func run(ours, others float64) *Run {
	r := &Run{When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Machine: Machine{CPU: "a <CPU> & more", Cores: 2}}
	for _, s := range append(peers.All(), peers.GoRedisCache) {
		r.Subjects = append(r.Subjects, Subject{Name: s.Name, Setup: s.Setup, Strata: s.Strata, Floor: s.Floor,
			Keeps: worker.Keeps{Isolated: s.Isolated, Coherent: s.Redis, Delay: 0.001}})
	}
	rounds := func(s string, perSecond float64) (rounds []worker.Round) {
		for n := range 3 {
			round := worker.Round{Requests: int(perSecond) + n, Elapsed: time.Second, Usage: worker.Usage{Gets: perSecond / 10, Scripts: perSecond / 50, CPU: 0.5, Cache: s == "Strata", Misses: perSecond / 50}}
			round.Times.Add(time.Duration(1e9 / perSecond))
			rounds = append(rounds, round)
		}
		return rounds
	}
	for _, name := range []string{"read", "hit", "zipf-95", "link-95", "http-read", "http-change"} {
		w := Workload{Name: name, Title: "the workload " + name, Group: "all"}
		for _, s := range r.Subjects {
			speed := others
			if s.Strata {
				speed = ours
			}
			w.Entries = append(w.Entries, NewEntry(s.Name, rounds(s.Name, speed), rounds(Ours, ours)))
		}
		r.Workloads = append(r.Workloads, w)
	}
	r.Memory = []Weight{{Subject: Ours, Memory: worker.Memory{Sessions: 10, Session: 700, Payload: 300, Cached: 1}},
		{Subject: "StorageMemory", Memory: worker.Memory{Sessions: 10, Session: 900, Payload: 300, Cached: 1}}}
	r.Judge()
	return r
}

func page1(t *testing.T, r *Run) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestThePageNeedsNothingElse(t *testing.T) {
	page := page1(t, run(1000, 100))
	if found := regexp.MustCompile(`(?i)https?://|src=|href=|@import|url\(|<script`).FindAllString(page, -1); found != nil {
		t.Errorf("the page refers to something else: %q", found)
	}
	if strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "a <CPU>") {
		t.Error("the page escapes wrongly")
	}
	if !strings.Contains(page, "prefers-color-scheme:dark") {
		t.Error("the page has no dark colours")
	}
}

func TestThePageShowsEverySubjectBesideWhatItKeepsAndHowItIsSetUp(t *testing.T) {
	r := run(1000, 100)
	page := page1(t, r)
	for _, s := range r.Subjects {
		if strings.Count(page, escaped(s.Name)) < 3 || !strings.Contains(page, escaped(s.Setup)) {
			t.Errorf("the page lacks %s or its set-up", s.Name)
		}
	}
	for _, word := range kept {
		if !strings.Contains(page, word) {
			t.Errorf("the page lacks the column %q", word)
		}
	}
}

// escaped escapes as the page does.
func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "+", "&#43;", "'", "&#39;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace(s)
}

func TestALossIsSaidInTheSameType(t *testing.T) {
	won, lost := run(100_000, 100), run(100, 100_000)
	for _, g := range won.Goals {
		if g.Workload != "zipf-95" && g.Verdict() != "reached" {
			t.Errorf("%s: %s, want reached", g.Says, g.Verdict())
		}
	}
	for _, g := range lost.Goals {
		if g.Workload != "memory" && g.Verdict() != "not reached" {
			t.Errorf("%s: %s, want not reached", g.Says, g.Verdict())
		}
		if g.Reason == "" {
			t.Errorf("nobody says why %q may not be reached", g.Says)
		}
	}
	rows := regexp.MustCompile(`(?s)<tr[^>]*><td class="words">[^<]*</td>.*?</tr>`)
	kind := func(page string) string {
		return regexp.MustCompile(`>[^<]*<`).ReplaceAllString(rows.FindString(page), "><")
	}
	if a, b := kind(page1(t, won)), kind(page1(t, lost)); a == "" || a != b {
		t.Errorf("a goal that is reached is set as %q, and one that isn't as %q", a, b)
	}
}

func TestGoalsThatWereNotMeasuredAreNotReached(t *testing.T) {
	r := &Run{}
	r.Judge()
	if len(r.Goals) != 10 {
		t.Errorf("%d goals, want 10", len(r.Goals))
	}
	for _, g := range r.Goals {
		if g.Verdict() != "not measured" || g.Reached {
			t.Errorf("%s: %s", g.Says, g.Verdict())
		}
	}
	page1(t, r)
}

func TestThePlotStandsAlone(t *testing.T) {
	plot := run(1000, 100).KeyPlot()
	for decoder := xml.NewDecoder(strings.NewReader(plot)); ; {
		if _, err := decoder.Token(); err != nil {
			if err.Error() != "EOF" {
				t.Fatalf("it is no XML: %v", err)
			}
			break
		}
	}
	if strings.Count(plot, "http") != 1 || !strings.Contains(plot, `xmlns="http://www.w3.org/2000/svg"`) {
		t.Error("the plot refers to something else than its namespace")
	}
	if !strings.Contains(plot, "prefers-color-scheme:dark") {
		t.Error("the plot has no dark colours")
	}
}

func TestRatiosAreOfStrataOverThePeer(t *testing.T) {
	w, _ := run(1000, 100).Workload("read")
	e, _ := w.Entry("StorageRedis")
	if got := e.Ratios["perSecond"].Median; got < 9.9 || got > 10.1 {
		t.Errorf("Strata is %vx StorageRedis, want 10x", got)
	}
	if got := e.Ratios["p50"].Median; got < 0.09 || got > 0.11 {
		t.Errorf("Strata's p50 is %vx StorageRedis's, want 0.1x", got)
	}
}

func TestRatiosWhereLessIsBetterAreSaidInWords(t *testing.T) {
	for ratio, want := range map[float64]string{0.01: "100x lower", 2: "2.00x higher", 1: "1.00x higher", 0: ""} {
		if got := metric("p50").against(ratio); got != want {
			t.Errorf("%v is %q, want %q", ratio, got, want)
		}
	}
	if got := metric("perSecond").against(0.5); got != "2.00x slower" {
		t.Errorf("0.5 is %q where more is better", got)
	}
}

func TestFormats(t *testing.T) {
	for _, tt := range []struct {
		key  string
		v    float64
		want string
	}{
		{"perSecond", 1_234_567, "1.23 M"}, {"perSecond", 12_345, "12.3 k"}, {"perSecond", 1234, "1234"},
		{"p50", 0.9e-6, "900 ns"}, {"p50", 12.3e-6, "12.3 µs"}, {"p99", 0.0015, "1.50 ms"}, {"cpu", 0, "0"},
		{"hits", 0.995, "99.5 %"}, {"bytes", 20480, "20.0 KiB"}, {"bytes", 512, "512 B"},
		{"gets", 0.061, "0.061"}, {"gets", 0.0001, "<0.001"}, {"allocs", 12, "12.0"}, {"allocs", 120, "120"},
	} {
		if got := metric(tt.key).Format(tt.v); got != tt.want {
			t.Errorf("%s %v is %q, want %q", tt.key, tt.v, got, tt.want)
		}
	}
}

// The page is read from the top: what a team has today, what each subject keeps, the fastest
// peer with the losses, and then the details.
func TestThePageIsReadFromTheTop(t *testing.T) {
	page := page1(t, run(100, 100_000))
	last := 0
	for _, part := range []string{">Strata beside the StorageRedis that you have<", "<svg", ">What each subject keeps<", ">Beside the fastest peer<",
		">Where a peer is faster or smaller: ", ">How each subject is set up<"} {
		at := strings.Index(page, part)
		if at <= last {
			t.Errorf("%s is at %d, after %d", part, at, last)
		}
		last = at
	}
}

// A ratio is that of the figures that it stands beside.
func TestRatiosMatchTheFiguresBesideThem(t *testing.T) {
	rounds := func(perSecond ...int) (all []worker.Round) {
		for _, n := range perSecond {
			all = append(all, worker.Round{Requests: n, Elapsed: time.Second})
		}
		return all
	}
	// The median of the ratios would be 1.08, and the first figure is the lower one.
	e := NewEntry("StorageRedis", rounds(500, 614, 700), rounds(592, 540, 756))
	if got := metric("perSecond").is(e); got != "1.04x slower" {
		t.Errorf("592 beside 614 is said to be %s", got)
	}
	if f := e.Ratios["perSecond"]; f.Low > 0.89 || f.High < 1.18 {
		t.Errorf("the spread is %v, not that of the neighbours", f)
	}
}

func TestGridLinesHaveValues(t *testing.T) {
	for high, want := range map[float64]int{1: 2, 3.2: 3, 9: 4, 592_000: 2, 0.004: 2} {
		ticks := axis{high: high}.ticks()
		if len(ticks) < want || len(ticks) > 5 || ticks[len(ticks)-1] > high {
			t.Errorf("an axis to %v has lines at %v", high, ticks)
		}
	}
	if ticks := (axis{logs: true, low: -1.1, high: 9}).ticks(); len(ticks) < 3 || len(ticks) > 5 {
		t.Errorf("ten decades have lines at %v", ticks)
	}
	if plot := run(1000, 100).KeyPlot(); !strings.Contains(plot, `class="note middle">500<`) {
		t.Error("the plot has no values on its lines")
	}
}

func TestWhereAPeerIsBetterIsSaid(t *testing.T) {
	lost := run(100, 100_000)
	found := map[[2]string]Loss{}
	for _, l := range lost.Losses() {
		found[[2]string{l.Workload, l.Metric}] = l
	}
	for _, w := range lost.Workloads {
		for _, metric := range []string{"requests/s", "p50"} {
			if l := found[[2]string{w.Title, metric}]; len(l.Better) != 9 || !strings.Contains(l.Text(), "6 more") {
				t.Errorf("%s, %s: %q, want all nine peers", w.Title, metric, l.Better)
			}
		}
	}
	if l := found[[2]string{"Full caches", "heap a session"}]; len(l.Better) != 0 {
		t.Errorf("StorageMemory's sessions are larger, and they are said to be a loss: %v", l.Better)
	}
	for _, l := range run(100_000, 100).Losses() {
		if l.Metric == "requests/s" {
			t.Errorf("a win is said to be a loss: %+v", l)
		}
	}
}

func TestALossOfMemoryIsSaid(t *testing.T) {
	r := run(1000, 100)
	r.Memory[0].Session = 2000
	losses := r.Losses()
	if last := losses[len(losses)-1]; last.Metric != "heap a session" || last.Text() != "StorageMemory 2.22x lower" {
		t.Errorf("the last loss is %+v", last)
	}
}

func TestAGoalWhoseRoundsDisagreeIsWithinNoise(t *testing.T) {
	g := Goal{Bound: 2}
	for _, tt := range []struct {
		found stats.Figure
		want  string
	}{
		{stats.Figure{Median: 3, Low: 2.5, High: 4}, "reached"},
		{stats.Figure{Median: 1, Low: 0.5, High: 1.5}, "not reached"},
		{stats.Figure{Median: 3, Low: 1, High: 4}, "within noise, the median reaches it"},
		{stats.Figure{Median: 1.9, Low: 1, High: 4}, "within noise, the median doesn't reach it"},
	} {
		if got := g.judged(tt.found).Verdict(); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.found, got, tt.want)
		}
	}
}

func TestAMissedGoalWithoutAReasonIsFlagged(t *testing.T) {
	r := run(100, 100_000)
	if page := page1(t, r); strings.Contains(page, "NOBODY") || !strings.Contains(page, "hands every request the one map") {
		t.Error("the page doesn't give the reasons of the goals that are missed")
	}
	r.Goals[0].Reason = ""
	if !strings.Contains(page1(t, r), "NOBODY HAS SAID WHY") {
		t.Error("a missed goal without a reason isn't flagged")
	}
}

func TestTheGoalOfReadsSaysWhatItLeavesOut(t *testing.T) {
	for _, g := range run(1000, 100).Goals {
		if g.Workload == "zipf-95" && (g.Found.Median < 0.079 || g.Found.Median > 0.081 || !strings.Contains(g.Beside, "0.100") || !strings.Contains(g.Beside, "0.020")) {
			t.Errorf("found %v, beside %q; want 0.08 sent, 0.1 by commandstats, and 0.02 that requests wait for", g.Found.Median, g.Beside)
		}
	}
}

func TestWhatMeansNothingIsADash(t *testing.T) {
	few := worker.Round{Requests: 100, Elapsed: time.Second}
	for range 100 {
		few.Times.Add(time.Millisecond)
	}
	e := NewEntry("StorageRedis", []worker.Round{few}, []worker.Round{few})
	for key, want := range map[string]string{"hits": "–", "p999": "–", "p99": "–", "perSecond": "100"} {
		if got := metric(key).figure(e); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// A percentile for which a round is too short is that of all rounds, beside that of all of
// Strata's.
func TestShortRoundsArePooled(t *testing.T) {
	rounds := func(requests int, slowest time.Duration) (all []worker.Round) {
		for n := range 4 {
			r := worker.Round{Requests: requests, Elapsed: time.Second}
			for range requests {
				r.Times.Add(time.Millisecond)
			}
			if n == 3 {
				for range requests / 10 {
					r.Times.Add(slowest)
				}
			}
			all = append(all, r)
		}
		return all
	}
	e := NewEntry("StorageRedis", rounds(100, 30*time.Millisecond), rounds(1000, 10*time.Millisecond))
	near := func(got, want float64) bool { return math.Abs(got/want-1) < 0.05 }
	if f := e.Figures["p99"]; !near(f.Median, 0.03) || f.Low != f.High {
		t.Errorf("p99 of all rounds is %v, want 30 ms", f)
	}
	if ratio := e.Ratios["p99"]; !near(ratio.Median, 1.0/3) {
		t.Errorf("the ratio of both p99 of all rounds is %v, want a third", ratio)
	}
	if _, ok := e.Figures["p999"]; ok {
		t.Error("410 requests have a p99.9")
	}
}

func TestFilesOfTwoRunsAreNeverSideBySide(t *testing.T) {
	dir := t.TempDir()
	names := func() (all string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all += e.Name() + " "
		}
		return all
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.html"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := run(1000, 100)
	first.When = time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
	if err := first.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, want := names(), "2026-01-31.html README.md latest.json notes.html read.svg "; got != want {
		t.Errorf("the first run has left %s, want %s", got, want)
	}
	second := run(1000, 100)
	second.When, second.Workloads = first.When.AddDate(0, 0, 1), nil // nothing to draw
	if err := second.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, want := names(), "2026-02-01.html README.md latest.json notes.html "; got != want {
		t.Errorf("the second run has left %s, want %s", got, want)
	}
}

// The summary leads to the page and to the plot, and compares with StorageRedis first.
func TestMarkdownIsAReadableSummary(t *testing.T) {
	r := run(1000, 100)
	r.Judge()
	var out bytes.Buffer
	if err := r.Markdown(&out, "2026-01-31.html", "read.svg"); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	last := -1
	for _, part := range []string{"(2026-01-31.html)", "](read.svg)", "## Beside the StorageRedis", "| StorageRedis |", "## What each subject keeps", "## Goals"} {
		at := strings.Index(text, part)
		if at <= last {
			t.Errorf("%q is at %d, after %d:\n%s", part, at, last, text)
		}
		last = at
	}
	for n, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") < 6 {
			t.Errorf("line %d isn't a whole row: %s", n, line)
		}
	}
}

func TestAxesOverOrdersOfMagnitudeAreLogarithmic(t *testing.T) {
	figure := func(v float64) bar { return bar{figure: stats.Of([]float64{v})} }
	near, wide := plot{bars: []bar{figure(1), figure(10)}}.axis(), plot{bars: []bar{figure(1), figure(1000)}}.axis()
	if near.logs || near.width(5) != barWidth/2 {
		t.Errorf("half of ten is drawn as %v of %v", near.width(5), barWidth)
	}
	if !wide.logs || wide.width(1) <= 0 || wide.width(1000) != barWidth {
		t.Errorf("1 and 1000 are drawn as %v and %v of %v", wide.width(1), wide.width(1000), barWidth)
	}
	if a, b := wide.width(10)-wide.width(1), wide.width(1000)-wide.width(100); math.Abs(a-b) > 1e-9 {
		t.Errorf("ten times is %v here and %v there", a, b)
	}
}
