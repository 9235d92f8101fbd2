package report

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/bench/peers"
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
			round := worker.Round{Requests: int(perSecond) + n, Elapsed: time.Second, Usage: worker.Usage{Gets: perSecond / 10, CPU: 0.5, Cache: s == "Strata", Misses: perSecond / 50}}
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
		if got := against(false, ratio); got != want {
			t.Errorf("%v is %q, want %q", ratio, got, want)
		}
	}
	if got := against(true, 0.5); got != "2.00x fewer" {
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
