package main

import (
	"testing"
	"time"
)

// The histories below have a log-in 1 and changes by two nodes, in milliseconds.
const ms = int64(time.Millisecond)

const bound = 100 * ms

func write(kind Kind, node int, version, start, end int64) Record {
	return Record{Node: node, Writer: 100 * (node + 1), Kind: kind, ID: "a", Epoch: 1, Version: version, Start: start * ms, End: end * ms}
}

// seen is a read that shows node 0's and node 1's versions.
func seen(node int, start int64, v0, v1 int64) Record {
	r := Record{Node: node, Kind: Read, ID: "a", Epoch: 1, Start: start * ms, End: (start + 1) * ms, Last: Token{100, v0}}
	r.Cells = append(r.Cells, Cell{100, v0})
	if v1 > 0 {
		r.Cells = append(r.Cells, Cell{200, v1})
		r.Last = Token{200, v1}
	}
	return r
}

func none(node int, start int64) Record {
	return Record{Node: node, Kind: Read, ID: "a", Absent: true, Start: start * ms, End: (start + 1) * ms}
}

// At the end all nodes show what the masters have held for long.
func TestNodesThatDisagree(t *testing.T) {
	held, changed := []Record{seen(Truth, 1, 2, 3)}, []Record{seen(Truth, 9, 2, 4)}
	for name, c := range map[string]struct {
		after []Record
		read  Record
		found int
	}{
		"the same":           {held, seen(1, 5, 2, 3), 0},
		"an older one":       {held, seen(1, 5, 2, 2), 1},
		"none":               {held, none(1, 5), 1},
		"changed meanwhile":  {changed, seen(1, 5, 2, 2), 0},
		"another's, unknown": {held, Record{ID: "b", Absent: true}, 0},
	} {
		if found := Disagreeing(held, []Record{c.read}, c.after); len(found) != c.found {
			t.Errorf("%s: found %v", name, found)
		}
	}
}

func maybe(r Record) Record {
	r.Outcome = Maybe
	return r
}

func refused(r Record) Record {
	r.Outcome = Revoked
	return r
}

// A checker that finds nothing wrong proves nothing, so each law is broken here, and
// kept by a hair.
func TestTheCheckerFindsEachViolation(t *testing.T) {
	login := write(Login, 0, 1, 0, 10)
	other := write(Change, 1, 1, 20, 30)
	logout := write(Logout, 0, 0, 40, 50)
	again := write(Login, 0, 2, 60, 70)
	again.Epoch = 2
	later := seen(0, 300, 2, 0)
	later.Epoch = 2
	mixed := seen(0, 300, 2, 1)
	mixed.Epoch, mixed.Last = 2, Token{100, 2}
	own := seen(0, 300, 1, 0)
	own.Epoch = 2
	next := write(Change, 0, 3, 80, 90)
	next.Epoch = 2
	bare := seen(1, 300, 1, 0)
	bare.Epoch = 0
	nobody := seen(1, 300, 1, 0)
	nobody.Epoch = 9
	shared := seen(1, 300, 2, 1) // both own keys, and the older value of the shared one
	shared.Last = Token{200, 1}
	// Of a session that lives for a second, used at 500 ms last.
	short := func(records ...Record) []Record {
		for n := range records {
			records[n].ID = briefMark
		}
		return records
	}
	used := write(Change, 1, 1, 490, 500)
	keeps := func(until int64) Record { // a read whose request ends then
		r := seen(0, 1500, 1, 1)
		r.Slid = until
		return r
	}
	// Shown by node 1, of changes of node 0 and the log-in after it.
	third := write(Change, 0, 3, 35, 38)
	back := seen(1, 41, 1, 0)
	lastBack := seen(1, 45, 3, 1)
	lastBack.Last = Token{200, 1}
	lastFront := seen(1, 42, 3, 1)
	lastFront.Last = Token{100, 3}
	early, earlier := seen(1, 72, 2, 0), seen(1, 75, 1, 0)
	early.Epoch = 2
	during := func(all bool, records ...Record) []Record {
		return append(records, swept([]Sweep{{From: 40 * ms, To: 50 * ms, All: all}}, []string{"a"})...)
	}
	for name, test := range map[string]struct {
		want    Law // none: ""
		records []Record
	}{
		"all is seen":                             {"", []Record{login, other, seen(0, 40, 1, 1), seen(1, 40, 1, 1), seen(Truth, 300, 1, 1)}},
		"stale within the bound":                  {"", []Record{login, other, seen(0, 40, 1, 0), seen(0, 129, 1, 0)}},
		"stale beyond the bound":                  {Stale, []Record{login, other, seen(0, 131, 1, 0)}},
		"the second of two changes is stale":      {Stale, []Record{login, other, write(Change, 1, 2, 35, 38), seen(0, 139, 1, 1)}},
		"own write while it is made":              {"", []Record{login, other, seen(1, 25, 1, 0)}},
		"own write missed":                        {OwnWrite, []Record{login, other, seen(1, 31, 1, 0)}},
		"own log-in missed":                       {OwnWrite, []Record{login, none(0, 11)}},
		"own log-out missed":                      {OwnWrite, []Record{login, logout, seen(0, 51, 1, 0)}},
		"a log-in not seen elsewhere yet":         {"", []Record{login, none(1, 11)}},
		"a log-in not seen beyond the bound":      {Stale, []Record{login, none(1, 111)}},
		"gone after a log-out":                    {"", []Record{login, logout, none(1, 300)}},
		"gone while it is logged out":             {"", []Record{login, logout, none(0, 41)}},
		"gone before it is logged out":            {OwnWrite, []Record{login, logout, none(0, 20)}},
		"gone, and perhaps logged out":            {"", []Record{login, maybe(logout), none(0, 300)}},
		"not gone, and perhaps logged out":        {"", []Record{login, maybe(logout), seen(0, 300, 1, 0)}},
		"logged out elsewhere, within the bound":  {"", []Record{login, logout, seen(1, 149, 1, 0)}},
		"logged out elsewhere, beyond the bound":  {Resurrected, []Record{login, logout, seen(1, 151, 1, 0)}},
		"resurrected in the server":               {Resurrected, []Record{login, logout, seen(Truth, 60, 1, 0)}},
		"data without a log-in":                   {Resurrected, []Record{login, logout, bare}},
		"logged in again under the id":            {"", []Record{login, logout, again, later}},
		"logged in again, and the old one shows":  {Resurrected, []Record{login, logout, again, seen(1, 300, 1, 0)}},
		"logged in again, and not there":          {OwnWrite, []Record{login, logout, again, none(0, 300)}},
		"refused, of the log-in before":           {"", []Record{login, logout, again, refused(write(Change, 0, 5, 310, 320))}},
		"refused, though nobody logged out":       {OwnWrite, []Record{login, refused(write(Change, 0, 5, 310, 320))}},
		"a key carried into another log-in":       {"", []Record{login, other, logout, again, mixed}},
		"a refused key in another log-in":         {Resurrected, []Record{login, refused(other), logout, again, mixed}},
		"a key of its own node in another log-in": {Resurrected, []Record{login, write(Change, 0, 1, 20, 30), logout, again, own}},
		"a key of a log-in that the servers lost": {"", []Record{write(Logout, 0, 0, -20, -10), login, maybe(logout), maybe(again), next, seen(0, 300, 3, 0)}},
		"swept from the server":                   {"", during(true, login, seen(1, 149, 1, 0), none(0, 51))},
		"swept, and shown beyond the bound":       {Resurrected, during(true, login, seen(1, 151, 1, 0))},
		"swept, and written back":                 {Resurrected, during(true, login, seen(Truth, 300, 1, 0))},
		"swept before, and gone":                  {Lost, during(true, login, again, none(Truth, 300))},
		"evicted":                                 {"", during(false, login, none(0, 51), none(Truth, 300))},
		"not evicted":                             {"", during(false, login, seen(0, 300, 1, 0), seen(Truth, 300, 1, 0))},
		"evicted, and shown again":                {Backwards, during(false, login, seen(0, 20, 1, 0), none(0, 51), seen(0, 53, 1, 0))},
		"evicted before, and gone":                {Lost, during(false, login, again, none(Truth, 300))},
		"lost session":                            {Lost, []Record{login, none(Truth, 20)}},
		"lost key":                                {Lost, []Record{login, other, seen(Truth, 31, 1, 0)}},
		"lost version":                            {Lost, []Record{login, write(Change, 0, 2, 20, 30), seen(Truth, 31, 1, 0)}},
		"a change that perhaps came":              {"", []Record{login, maybe(other), seen(1, 300, 1, 0), seen(0, 300, 1, 1), seen(Truth, 300, 1, 0)}},
		"the later commit of the shared key wins": {Lost, []Record{login, other, write(Change, 0, 2, 35, 38), atTruth(shared)}},
		"overlapping commits of the shared key":   {"", []Record{login, other, write(Change, 0, 2, 25, 38), atTruth(shared)}},
		"a log-in that nobody made":               {Invented, []Record{login, nobody}},
		"a version that nobody wrote":             {Invented, []Record{login, seen(0, 20, 7, 0)}},
		"a version from the future":               {Invented, []Record{login, other, seen(0, 12, 1, 1)}},
		"refused without a log-out":               {OwnWrite, []Record{login, refused(write(Change, 0, 2, 20, 30))}},
		"shown, and shown no more":                {Backwards, []Record{login, other, seen(0, 31, 1, 1), seen(0, 33, 1, 0)}},
		"shown by a read that is under way":       {"", []Record{login, other, seen(0, 31, 1, 1), seen(0, 32, 1, 0)}},
		"shown, and not yet at another node":      {"", []Record{login, other, seen(1, 31, 1, 1), seen(0, 33, 1, 0)}},
		"a log-out shown, and shown no more":      {Backwards, []Record{login, logout, seen(1, 20, 1, 0), none(1, 51), seen(1, 53, 1, 0)}},
		"back within the bound":                   {Backwards, []Record{login, third, seen(1, 39, 3, 0), back}},
		"back to no log-in, within the bound":     {Backwards, []Record{login, seen(1, 11, 1, 0), none(1, 13)}},
		"forth to no log-in":                      {"", []Record{login, logout, seen(1, 11, 1, 0), none(1, 43)}},
		"back to a log-in that wasn't shown yet":  {Backwards, []Record{login, logout, again, early, earlier}},
		"back in the shared key":                  {Backwards, []Record{login, other, third, lastFront, lastBack}},
		"forth in the shared key":                 {"", []Record{login, other, third, seen(1, 36, 1, 1), lastFront}},
		"a log-in shown late":                     {"", []Record{login, none(1, 11), seen(1, 20, 1, 0)}},
		"expired":                                 {"", short(login, used, none(0, 1490))},
		"expired before its time":                 {OwnWrite, short(login, used, none(0, 1488))},
		"expired elsewhere before its time":       {Stale, short(login, used, none(2, 1488))},
		"a log-in that has expired":               {"", short(login, none(0, 1000))},
		"shown when it may have expired":          {"", short(login, used, seen(1, 1700, 1, 1))},
		"shown when it has expired":               {Expired, short(login, used, seen(1, 1701, 1, 1))},
		"kept by a read":                          {"", short(login, used, keeps(1501*ms), seen(1, 2701, 1, 1))},
		"kept by a read, and not for so long":     {Expired, short(login, used, keeps(1501*ms), seen(1, 2702, 1, 1))},
		"kept by a request that ends late":        {"", short(login, used, keeps(2000*ms), seen(1, 3200, 1, 1))},
		"kept by a slide that perhaps came":       {"", short(login, used, keeps(never), seen(1, 3200, 1, 1))},
		"kept by a read that slides nothing":      {Expired, short(login, used, seen(0, 1500, 1, 1), seen(1, 2500, 1, 1))},
		"kept by a change that perhaps came":      {"", short(login, maybe(used), seen(1, 3000, 1, 1))},
		"refused while logged out":                {"", []Record{login, logout, refused(write(Change, 0, 2, 45, 55))}},
	} {
		verdict := Check(test.records, Bounds{Age: bound}, nil, Quiet{})
		found := map[Law]bool{}
		for _, v := range verdict.Violations {
			found[v.Law] = true
		}
		if test.want == "" && len(found) > 0 || test.want != "" && !found[test.want] {
			t.Errorf("%s: found %v, want %q", name, verdict.Violations, test.want)
		}
	}
}

// In a quiet time the bound is another, given how slow the machine was.
func TestAQuietTimeIsJudgedByItsOwnBound(t *testing.T) {
	records := func(age int64) []Record {
		return []Record{write(Login, 0, 1, 0, 10), write(Change, 1, 1, 20, 30), seen(0, 30+age, 1, 0)}
	}
	for name, test := range map[string]struct {
		age   int64
		quiet Quiet
		found int
	}{
		"within the bound":           {169, Quiet{0, 1000 * ms, 10 * ms}, 0},
		"beyond the bound":           {171, Quiet{0, 1000 * ms, 10 * ms}, 1},
		"later than the quiet time":  {171, Quiet{0, 200 * ms, 10 * ms}, 0},
		"before the quiet time":      {171, Quiet{31 * ms, 1000 * ms, 10 * ms}, 0},
		"on a machine that stumbles": {400, Quiet{0, 1000 * ms, 101 * ms}, 0},
		"of which nothing is known":  {400, Quiet{}, 0},
	} {
		verdict := Check(records(test.age), Bounds{Age: 500 * ms}, nil, test.quiet)
		if len(verdict.Violations) != test.found || test.found > 0 && verdict.Violations[0].Law != Late {
			t.Errorf("%s: found %v", name, verdict.Violations)
		}
	}
	q := Quiet{From: 100, To: 200}
	q.worst([]Stall{{0, 99}, {50, 60}, {150, 30}, {201, 500}})
	if q.Stall != 60 {
		t.Errorf("the worst stall is %d", q.Stall)
	}
	if q.worst(nil); q.judged() {
		t.Error("a time without any measurement is judged")
	}
}

func atTruth(r Record) Record {
	r.Node = Truth
	return r
}

// The servers' losses are counted as theirs, and no others.
func TestALossOfTheServersIsDistinguished(t *testing.T) {
	login, early, late := write(Login, 0, 1, 0, 10), write(Change, 1, 1, 20, 30), write(Change, 1, 2, 40, 50)
	held := func(v1 int64) []Loss {
		return []Loss{newLoss(35*ms, 60*ms, []Record{seen(Truth, 58, 1, v1)})}
	}
	read := func(v1 int64) []Record {
		return []Record{login, early, late, seen(1, 70, 1, v1), seen(Truth, 300, 1, v1)}
	}
	for name, test := range map[string]struct {
		records []Record
		losses  []Loss
		clean   bool
		lost    int
	}{
		"nothing was lost":                          {read(2), held(2), true, 0},
		"what was acknowledged meanwhile":           {read(1), held(1), true, 1},
		"what the new master held":                  {read(1), held(2), false, 0},
		"what was acknowledged before":              {read(0), held(0), false, 1},
		"a read of the new master, before it is up": {[]Record{login, early, late, seen(1, 55, 1, 1), seen(Truth, 300, 1, 2)}, held(2), true, 0},
		"no loss at all":                            {read(1), nil, false, 0},
	} {
		verdict := Check(test.records, Bounds{Age: bound}, test.losses, Quiet{})
		lost := 0
		for _, loss := range test.losses {
			lost += loss.Writes
		}
		if clean := len(verdict.Violations) == 0; clean != test.clean || lost != test.lost {
			t.Errorf("%s: %d lost by the servers, want %d, and %v", name, lost, test.lost, verdict.Violations)
		}
	}
}

func TestWhatIsNotReachedIsReported(t *testing.T) {
	r := &Report{Options: Options{Requests: 1}}
	if texts := r.Unreached(); len(texts) > 0 {
		t.Errorf("not reached by a report of nothing: %q", texts)
	}
	r.Delays.Add(int64(mostDelay))
	r.judgeOutages([]Outage{{Known: 100, Ended: 200, Until: 200 + 2*int64(mostRecovery)}}, []Timing{
		{99, int64(time.Hour), true}, {100, int64(mostOutage), true}, {200, int64(time.Hour), false},
		{201 + int64(mostRecovery), 1, true}, {200 + 2*int64(mostRecovery), 1, true},
	})
	if len(r.Outages.All) != 1 || len(r.Recoveries.All) != 1 || r.Recoveries.All[0] != int64(mostRecovery)+1 {
		t.Errorf("the requests in an outage are %v, the recoveries %v", r.Outages.All, r.Recoveries.All)
	}
	r.RedisReads, r.OwnReads, r.Audits.Differs = 2*mostReads, 1000, 1
	if len(r.Unreached()) != 5 {
		t.Errorf("no read of an own write asks Redis: %q", r.Unreached())
	}
	if r.OwnMisses = map[string]int{"a cause": 1}; len(r.Unreached()) != 6 {
		t.Errorf("a read of an own write asks Redis: %q", r.Unreached())
	}
	r.Others = 2 * mostOthers // the machine is busy
	if r.OwnMisses["a cause"] = 10; len(r.Unreached()) != 3 {
		t.Errorf("few reads of own writes ask Redis on a busy machine: %q", r.Unreached())
	}
	if r.OwnMisses["a cause"]++; len(r.Unreached()) != 4 {
		t.Errorf("more reads of own writes ask Redis on a busy machine: %q", r.Unreached())
	}
	if r.OwnMisses = map[string]int{unvouched: 500, unread: 500}; len(r.Unreached()) != 3 {
		t.Errorf("not reached by a busy machine, whose reads come too late: %q", r.Unreached())
	}
}

func TestAgesAreReported(t *testing.T) {
	verdict := Check([]Record{write(Login, 0, 1, 0, 10), write(Change, 1, 1, 20, 30), seen(0, 35, 1, 0), seen(0, 230, 1, 0), seen(0, 40, 1, 1)}, Bounds{Age: bound}, nil, Quiet{})
	ages := verdict.Ages
	if len(ages.All) != 2 || ages.Quantile(0) != 5*time.Millisecond || ages.Quantile(1) != 200*time.Millisecond {
		t.Errorf("the ages are %v", ages.All)
	}
}

func TestHistoriesThatAreNotLinearizableAreFound(t *testing.T) {
	id := func(records ...Record) []Record {
		for n := range records {
			records[n].ID = ownID(1, 0, 0)
		}
		return records
	}
	first, second := write(Login, 0, 1, 0, 10), write(Change, 0, 2, 20, 30)
	for name, test := range map[string]struct {
		linear  bool
		records []Record
	}{
		"in order":                     {true, id(first, seen(0, 12, 1, 0), second, seen(0, 31, 2, 0))},
		"an old value":                 {false, id(first, second, seen(0, 31, 1, 0))},
		"forth and back":               {false, id(first, second, seen(0, 21, 2, 0), seen(0, 25, 1, 0))},
		"either, while it is written":  {true, id(first, second, seen(0, 21, 1, 0), seen(0, 25, 2, 0))},
		"after a log-out":              {false, id(first, write(Logout, 0, 0, 20, 30), seen(0, 31, 1, 0))},
		"gone after a log-out":         {true, id(first, write(Logout, 0, 0, 20, 30), none(0, 31))},
		"perhaps written":              {true, id(first, maybe(second), seen(0, 31, 1, 0), seen(0, 40, 2, 0))},
		"perhaps written, and undone":  {false, id(first, maybe(second), seen(0, 31, 2, 0), seen(0, 40, 1, 0))},
		"refused, and never shown":     {true, id(first, refused(second), seen(0, 31, 1, 0))},
		"swept, and shown stale":       {true, id(append(swept([]Sweep{{20 * ms, 30 * ms, true}}, []string{""}), first, seen(0, 31, 1, 0))...)},
		"an old value before a sweep":  {false, id(append(swept([]Sweep{{40 * ms, 50 * ms, true}}, []string{""}), first, second, seen(0, 31, 1, 0))...)},
		"lost, as the server shows it": {false, id(first, second, atTruth(seen(0, 31, 1, 0)))},
	} {
		checked, unknown, violations := Linearizable(test.records)
		if checked != 1 || unknown != 0 || (len(violations) == 0) != test.linear {
			t.Errorf("%s: %d checked, %d unknown, found %v", name, checked, unknown, violations)
		}
	}
}

// While a node may not know that it is notified of nothing, it may miss what it needn't have known
// before, and no more: not what it wrote itself, and nothing later.
func TestTheCheckerKnowsGaps(t *testing.T) {
	login, early, late := write(Login, 0, 1, 0, 10), write(Change, 1, 1, 20, 30), write(Change, 1, 2, 300, 310)
	bounds := Bounds{Age: bound, Gaps: []Gap{{Node: 0, From: 200 * ms, To: 900 * ms}}}
	for name, test := range map[string]struct {
		want Law
		read Record
	}{
		"of before the gap":                  {Stale, seen(0, 899, 1, 0)},
		"of the gap":                         {"", seen(0, 899, 1, 1)},
		"after the gap":                      {Stale, seen(0, 901, 1, 1)},
		"at another node":                    {Stale, seen(2, 500, 1, 1)},
		"at the node that wrote":             {OwnWrite, seen(1, 500, 1, 1)},
		"in the store":                       {Lost, seen(Truth, 500, 1, 1)},
		"of before the gap, until the bound": {Stale, seen(0, 250, 1, 0)},
	} {
		verdict := Check([]Record{login, early, late, test.read}, bounds, nil, Quiet{})
		if (test.want == "") != (len(verdict.Violations) == 0) || test.want != "" && verdict.Violations[0].Law != test.want {
			t.Errorf("%s: %v, want %q", name, verdict.Violations, test.want)
		}
		if n := len(verdict.InGaps.All); (n == 1) != (test.read.Node == 0 && test.read.Start <= 900*ms) {
			t.Errorf("%s: %d stale reads in gaps", name, n)
		}
	}
}
