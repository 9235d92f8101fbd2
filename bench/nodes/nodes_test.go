package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestMain makes a node of this binary where the driver asks for one.
func TestMain(m *testing.M) {
	if config := os.Getenv(nodeConfig); config != "" {
		exitNode(config)
	}
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

func short(faults ...string) Options {
	o := DefaultOptions()
	o.Duration, o.Round, o.Probes, o.Requests, o.Faults = time.Second, 5*time.Second, 50, 400, faults
	o.Nodes, o.Workers, o.Crowd, o.Rate, o.Users, o.Audit = 2, 3, 4, 80, 40, 0.05
	return o
}

// sound fails the test where the chain broke a law, or nothing was proved.
func sound(t *testing.T, report *Report) {
	t.Helper()
	var table bytes.Buffer
	report.Print(&table)
	t.Log("\n" + table.String())
	if n := report.Violations(); n > 0 {
		t.Errorf("%d violations", n)
	}
	if report.Reads < leastReads {
		t.Errorf("%d reads prove nothing", report.Reads)
	}
	if report.Expired == 0 {
		t.Error("no session was asked for that had expired")
	}
	for _, name := range report.Options.Faults {
		if report.Faults[name] == 0 {
			t.Errorf("the fault %q never came", name)
		}
	}
}

func TestStandaloneWithFaults(t *testing.T) {
	t.Parallel()
	report := Run(t, standalone, short("cut", "stall", "deaf", "pause", "restart", "jitter", "hang", "refuse"))
	sound(t, report)
	if report.Histories == 0 || report.Unknown > 0 {
		t.Errorf("%d histories were checked, %d were too hard", report.Histories, report.Unknown)
	}
	if report.RedisReads > 0.5 || report.judgedMisses() > report.OwnReads/2 {
		t.Errorf("%.3f Redis reads a request, and %d reads of own writes", report.RedisReads, report.ownMisses())
	}
	if report.Audits.Same == 0 {
		t.Error("no hit was audited")
	}
	if report.Delays.All == nil {
		t.Error("no invalidation was measured")
	}
}

func TestStandaloneOutages(t *testing.T) {
	t.Parallel()
	o := short("outage", "full")
	o.Requests = 0
	report := Run(t, standalone, o)
	sound(t, report)
	if len(report.Recoveries.All) == 0 || len(report.Outages.All) == 0 {
		t.Error("no request was timed in an outage, or none after it")
	}
}

func TestStandaloneOperators(t *testing.T) {
	t.Parallel()
	o := short("clientpause", "rights", "flush", "evict", "rewind")
	o.Requests = 0
	sound(t, Run(t, standalone, o))
}

// A relay that connects again and gives no sign makes a node miss changes no longer than stated.
func TestARelayThatRedials(t *testing.T) {
	t.Parallel()
	o := short("redial")
	o.Requests = 0
	sound(t, Run(t, standalone, o))
}

// After a kill, each change that a node writing behind has accepted is in the store or reported.
func TestKilledNodesThatWriteBehind(t *testing.T) {
	t.Parallel()
	o := short()
	found := RunBehind(t, o, 8)
	t.Logf("%d kills, %d accepted, %d reported, %d sessions lost", found.Kills, found.Accepted, found.Reported, len(found.Lost))
	if found.Accepted < 100 || found.Silent || len(found.Back) > 0 {
		t.Errorf("%d accepted, %d reported, lost: %q, back: %q", found.Accepted, found.Reported, found.Lost, found.Back)
	}
}

func TestWhatANodeHadAcceptedIsCompared(t *testing.T) {
	read := func(version int64) Record { return Record{Epoch: 1, Cells: []Cell{{0, version}}} }
	versions := func() *accepted { return &accepted{versions: []int64{2, 3}} }
	b := &Behind{}
	b.compare(map[string]*accepted{"same": versions(), "newer": versions(), "out": {out: true}, "leaving": {versions: []int64{2}, leaving: true}},
		map[string]Record{"same": read(3), "newer": read(4), "begun": read(1)}, 0)
	if len(b.Lost)+len(b.Back) > 0 || b.Silent {
		t.Errorf("sound, and found %+v", b)
	}
	for reported, silent := range map[int]bool{2: true, 3: false} {
		b = &Behind{}
		b.compare(map[string]*accepted{"gone": versions(), "older": versions(), "back": {out: true}},
			map[string]Record{"older": read(2), "back": read(1)}, reported)
		if len(b.Lost) != 2 || b.Lacking != 3 || len(b.Back) != 1 || b.Silent != silent {
			t.Errorf("2 lack 3 changes, %d of which are reported, and 1 is back, found %+v", reported, b)
		}
	}
}

func TestPrincipalsWithFaults(t *testing.T) {
	t.Parallel()
	o := short("cut", "pause", "jitter", "flush")
	o.Duration, o.Rate = 4*time.Second, 120
	found := RunPrincipals(t, standalone, o)
	found.Print(t.Output())
	if !found.Sound() {
		t.Error("a rule is broken")
	}
	for _, what := range []string{"login", "read", "change", "revoke", "revokeAll", "update"} {
		if found.Deeds[what] == 0 {
			t.Errorf("there was no %s", what)
		}
	}
}

// A session that a node in a gap shows may have been ended when the gap began.
func TestPrincipalsInAGap(t *testing.T) {
	at := func(what, id string, node int, start int64) deed {
		return deed{Node: node, Person: 1, What: what, ID: id, Start: start, End: start + 1, Shown: what == "read"}
	}
	deeds := []deed{at("login", "a", 0, 0), at("login", "b", 0, 2), at("login", "c", 0, 4), at("login", "d", 0, 6),
		at("read", "a", 0, 50), at("read", "b", 2, 61), at("read", "c", 0, 62), at("read", "d", 0, 63)}
	for node, broken := range map[int]bool{2: false, 3: true} {
		p := &Principals{Deeds: map[string]int{}, Broken: map[string][]string{}}
		p.judge(slices.Clone(deeds), Bounds{Age: 10, Gaps: []Gap{{Node: node, From: 30, To: 90}}})
		if len(p.Broken[ruleLimit]) > 0 != broken {
			t.Errorf("node %d in a gap: broken %q", node, p.Broken)
		}
	}
}

// Each rule finds what breaks it, and nothing else.
func TestPrincipalsAreJudged(t *testing.T) {
	const bound = 10
	at := func(what, id string, start int64) deed {
		return deed{Person: 1, What: what, ID: id, Start: start, End: start + 1, Shown: what == "read"}
	}
	updated := deed{Person: 1, What: "update", Start: 30, End: 31, Writer: 7, Version: 2}
	shown := func(version int64) deed {
		d := at("read", "a", 50)
		d.Versions = map[string]int64{"7": version}
		return d
	}
	began := []deed{at("login", "a", 0), at("login", "b", 2), at("login", "c", 4), at("login", "d", 6)}
	uncertain := at("login", "a", 0)
	uncertain.Outcome = Maybe
	for name, c := range map[string]struct {
		deeds []deed
		rule  string
	}{
		"shown in time":                {[]deed{at("login", "a", 0), at("revokeAll", "", 10), at("read", "a", 20)}, ""},
		"shown too late":               {[]deed{at("login", "a", 0), at("revokeAll", "", 10), at("read", "a", 22)}, ruleRevoked},
		"one shown too late":           {[]deed{at("login", "a", 0), at("revoke", "a", 10), at("read", "a", 22)}, ruleRevoked},
		"another one":                  {[]deed{at("login", "a", 0), at("revoke", "b", 10), at("read", "a", 22)}, ""},
		"began while all were revoked": {[]deed{at("login", "a", 10), at("revokeAll", "", 10), at("read", "a", 30)}, ""},
		"began later":                  {[]deed{at("login", "a", 12), at("revokeAll", "", 10), at("read", "a", 30)}, ""},
		"perhaps never begun":          {[]deed{uncertain, at("revokeAll", "", 10), at("read", "a", 30)}, ""},
		"four at once":                 {append(slices.Clone(began), at("read", "a", 30), at("read", "b", 31), at("read", "c", 32), at("read", "d", 33)), ruleLimit},
		"three, and one before":        {append(slices.Clone(began), at("read", "a", 12), at("read", "b", 31), at("read", "c", 32), at("read", "d", 33)), ""},
		"updated":                      {[]deed{at("login", "a", 0), updated, shown(2)}, ""},
		"not updated":                  {[]deed{at("login", "a", 0), updated, shown(1)}, ruleUpdate},
		"emptied before its log-in":    {[]deed{{Person: 1, What: "flush", Start: 0, End: 1}, at("login", "a", 2), updated, shown(1)}, ruleUpdate},
		"emptied in its log-in":        {[]deed{{Person: 1, What: "flush", Start: 1, End: 2}, at("login", "a", 0), updated, shown(1)}, ""},
		"began just before the update": {[]deed{at("login", "a", 25), updated, shown(0)}, ""},
	} {
		p := &Principals{Deeds: map[string]int{}, Broken: map[string][]string{}}
		p.judge(c.deeds, Bounds{Age: bound})
		if _, is := p.Broken[c.rule]; is != (c.rule != "") || len(p.Broken) > 1 {
			t.Errorf("%s: broken %q, want %q", name, p.Broken, c.rule)
		}
	}
}

func TestClusterWithFaults(t *testing.T) {
	t.Parallel()
	o := short("failover", "move", "linger", "deaf", "flush")
	o.Requests = 0
	sound(t, Run(t, cluster, o))
}

func TestSentinelWithAFailover(t *testing.T) {
	t.Parallel()
	o := short("failover")
	o.Requests = 0
	sound(t, Run(t, sentinel, o))
}

// A chain whose cache never receives an invalidation is found out. It still knows when
// sessions expire.
func TestABrokenChainIsFound(t *testing.T) {
	t.Parallel()
	o := short()
	o.Mode, o.Requests, o.Users = modeBroken, 0, 10
	report := Run(t, standalone, o)
	if report.Counts[Stale] == 0 || report.Counts[Disagrees] == 0 || report.Ages.Quantile(1) <= ageBound {
		t.Errorf("a cache that is never invalidated passes: %v", report.Counts)
	}
	if report.Counts[Expired] > 0 || report.Expired == 0 {
		t.Errorf("%d reads show what has expired, and %d found none", report.Counts[Expired], report.Expired)
	}
	var table bytes.Buffer
	report.Print(&table)
	if !strings.Contains(table.String(), "! "+string(Stale)) {
		t.Error("the table shows no example")
	}
	explains(t, report)
}

// explains looks for a session that was shown stale, with its operations and the commands about
// it. The folders also hold sessions that other laws were broken for.
func explains(t *testing.T, report *Report) {
	t.Helper()
	if len(report.Evidence) == 0 {
		t.Fatal("no history was written")
	}
	parts := []string{string(Stale), "login", "change", "read", "-> server 0", "<- server 0"}
	explained, written := 0, 0
	for _, folder := range report.Evidence {
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		if faults, err := os.ReadFile(folder + "/faults.txt"); err != nil || !strings.Contains(string(faults), "role:master") {
			t.Errorf("the roles of the servers are missing: %v", err)
		}
		sessions, err := filepath.Glob(folder + "/r*.txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, session := range sessions {
			content, err := os.ReadFile(session)
			if err != nil {
				t.Fatal(err)
			}
			written++
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(string(content), part) }) {
				explained++
			}
		}
	}
	if explained == 0 {
		t.Errorf("none of the %d histories has all of %q", written, parts)
	}
}
