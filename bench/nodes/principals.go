package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gf-strata/strata/layer"
)

// Of the run that ends and changes sessions by whose they are.
const (
	persons       = 50 // principals
	personDevices = 5  // ids that a principal has at a time
	personLimit   = 3  // sessions that a principal may have
	keyPerson     = "person"
)

// whose is the principal of a session.
func whose(data map[string]any) string {
	person, _ := data[keyPerson].(string)
	return person
}

// Principals is what a run found in which nodes end, limit and change sessions by whose they are,
// with faults.
type Principals struct {
	Deeds    map[string]int // acknowledged, by what they are
	Faults   map[string]int
	Broken   map[string][]string // by rule
	Topology string
	Folder   string // with the whole history, if a rule is broken
}

// The rules.
const (
	ruleRevoked = "a session of a revoked principal is served" // later than the bound
	ruleLimit   = "a principal has more sessions than the limit"
	ruleUpdate  = "an update is lost"
	ruleListed  = "a session isn't listed"
)

// writesBehind reports whether a node does, with a journal. Its accepted changes may reach
// other nodes later than the bound, unless they end sessions.
func writesBehind(node int) bool { return node == 1 }

func personID(person, device int, generation uint64) string {
	return fmt.Sprintf("r0-person%d-%d-g%d", person, device, generation)
}

// principals is a node's part: its workers log in, read, change, revoke and update until end.
func (n *node) principals() (end func(), err error) {
	ledger, err := openLedger(n.Dir)
	if err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	users := layer.Principals(n.chain)
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for worker := range n.Workers {
		all.Go(func() {
			w := &personWorker{node: n, users: users, writer: n.Node*100 + worker, random: rand.New(rand.NewPCG(n.Seed, uint64(n.Node*100+worker)))}
			tick := time.NewTicker(time.Second / time.Duration(n.Rate))
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				ledger.note(w.step()...)
			}
		})
	}
	return func() {
		stop()
		all.Wait()
		_ = n.close()
		ledger.close()
	}, nil
}

// personWorker does one thing after the other. It belongs to one goroutine.
type personWorker struct {
	node    *node
	users   *layer.Users
	writer  int
	version int64
	begun   deed // its last log-in
	random  *rand.Rand
}

// step is what a worker does next.
func (w *personWorker) step() []deed {
	person, device := w.random.IntN(persons), w.random.IntN(personDevices)
	slot := person*personDevices + device
	generation := w.node.slots.Generation(slot)
	ctx := context.Background()
	d := deed{Node: w.node.Node, Person: person, ID: personID(person, device, generation), Start: now()}
	done := func(what string, err error) []deed {
		d.What, d.End = what, now()
		switch {
		case errors.Is(err, layer.ErrRevoked):
			d.Outcome = Revoked
		case err != nil:
			d.Outcome = Maybe
		}
		return []deed{d}
	}
	switch chance := w.random.IntN(1000); {
	case chance < 60:
		if !w.node.slots.Hold(slot, generation) {
			return nil
		}
		defer w.node.slots.Release(slot, generation+1)
		d.ID = personID(person, device, generation+1)
		request := w.node.manager.New(ctx, d.ID)
		err := request.Set(keyPerson, fmt.Sprint(person))
		if err == nil {
			err = request.Close()
		}
		if err == nil {
			w.begun = d
		}
		return done("login", err)
	case chance < 75:
		d.ID = ""
		_, err := w.users.RevokeAll(ctx, fmt.Sprint(person), layer.ReasonPasswordChanged)
		return done("revokeAll", err)
	case chance < 85:
		// Else the one that it has begun last: few others are there on a slow machine, whose log-ins hardly keep up with
		// what ends sessions.
		for _, session := range []deed{d, w.begun} {
			if handle, err := w.users.Handle(ctx, session.ID); err == nil && handle != "" {
				d.Person, d.ID, d.Start = session.Person, session.ID, now()
				return done("revoke", w.users.Revoke(ctx, handle, layer.ReasonEndedByAdmin))
			}
		}
		return nil
	case chance < 105:
		d.ID = ""
		w.version++
		d.Writer, d.Version = w.writer, w.version
		_, err := w.users.Update(ctx, fmt.Sprint(person), func(s *layer.Changes) error {
			s.Set(ownKey(w.writer), strconv.FormatInt(w.version, 10))
			return nil
		})
		return done("update", err)
	default:
		if chance%3 == 0 { // those that came before are asked for as well
			generation = max(generation, 1) - 1
			d.ID = personID(person, device, generation)
		}
		return w.request(d, chance < 300)
	}
}

// request reads, and may change the session a moment later.
func (w *personWorker) request(d deed, change bool) []deed {
	request := w.node.manager.New(context.Background(), d.ID)
	data, err := request.Data()
	if err != nil {
		_ = request.Close()
		return nil
	}
	d.What, d.End, d.Shown = "read", now(), whose(data) != ""
	for key, value := range data {
		if writer, is := strings.CutPrefix(key, keyWriter); is {
			if d.Versions == nil {
				d.Versions = map[string]int64{}
			}
			text, _ := value.(string)
			d.Versions[writer], _ = strconv.ParseInt(text, 10, 64)
		}
	}
	deeds := []deed{d}
	if !d.Shown || !change {
		_ = request.Close()
		return deeds
	}
	wait(time.Duration(w.random.Int64N(int64(20 * time.Millisecond))))
	d = deed{Node: d.Node, Person: d.Person, ID: d.ID, What: "change", Start: now()}
	err = request.Set("seen", d.Start)
	if err == nil {
		err = request.Close()
	}
	d.End = now()
	switch {
	case errors.Is(err, layer.ErrRevoked):
		d.Outcome = Revoked
	case err != nil:
		d.Outcome = Maybe
	}
	return append(deeds, d)
}

// RunPrincipals has nodes do so for the options' time, or until they have done each kind of deed, under their
// faults, and judges what they saw.
// Faults by which servers lose what they had acknowledged are left out.
func RunPrincipals(tb testing.TB, topology string, o Options) *Principals {
	tb.Helper()
	o.Mode, o.Users = modePrincipals, max(o.Users, persons*personDevices)
	o.Faults = slices.DeleteFunc(slices.Clone(o.Faults), func(name string) bool {
		return slices.Contains([]string{"failover", "crash", "rolling", "evict", "rewind"}, name)
	})
	w := newWorld(tb, topology, o)
	w.evidence = w.tap()
	stopRoles := w.watchRoles(w.evidence)
	random := rand.New(rand.NewPCG(o.Seed, 1))
	found := &Principals{Topology: topology, Deeds: map[string]int{}, Faults: map[string]int{}, Broken: map[string][]string{}}
	var list []fault
	end := time.Now().Add(o.Duration)
	for time.Now().Before(end) || !w.varied() && time.Now().Before(end.Add(2*time.Minute)) {
		wait(some(random, 200*time.Millisecond, 700*time.Millisecond))
		if len(list) == 0 && time.Now().Before(end) { // more would only hold up what hasn't been done yet
			list = w.shuffled(random)
		}
		if len(list) > 0 {
			began := now()
			list[0].do(w, random, 0)
			w.evidence.event(list[0].name, began)
			found.Faults[list[0].name]++
			list = list[1:]
		}
	}
	stopRoles()
	w.end()
	var deeds []deed
	for n := range o.Nodes {
		deeds = append(deeds, w.deeds(n)...)
	}
	for _, s := range w.sweeps {
		for person := range persons {
			deeds = append(deeds, deed{Node: Outside, Person: person, What: "flush", Start: s.From, End: s.To})
		}
	}
	wait(ageBound)
	last, listed := w.lastLook(deeds)
	deeds = append(deeds, last...)
	found.judge(deeds, Bounds{int64(ageBound), w.gaps})
	for id, is := range listed {
		if !is && !listLost(id, deeds) {
			found.broken(ruleListed, id, "%s", id)
		}
	}
	if len(found.Broken) > 0 {
		found.Folder = w.keepEvidence(recordsOf(deeds), found.violations())
	}
	return found
}

// listLost reports whether a session's log-in was on its way while the servers were emptied: its entry in the list may
// have come before that, and it later. The entry is written again when the session is used.
func listLost(id string, deeds []deed) bool {
	return slices.ContainsFunc(deeds, func(d deed) bool {
		arrived := d.End
		if d.Outcome != OK || writesBehind(d.Node) {
			arrived = never
		}
		return d.ID == id && d.What == "login" && emptied(d, arrived, deeds)
	})
}

// emptied reports whether the servers were emptied between the beginning of a log-in and its arrival in the store.
func emptied(login deed, arrived int64, deeds []deed) bool {
	return slices.ContainsFunc(deeds, func(d deed) bool {
		return d.What == "flush" && d.Person == login.Person && login.Start <= d.End && arrived >= d.Start
	})
}

// varied reports whether the nodes have done each kind of deed.
func (w *world) varied() bool {
	kinds := map[string]bool{}
	for n := range w.nodes {
		for _, d := range w.deeds(n) {
			kinds[d.What] = kinds[d.What] || d.Outcome == OK
		}
	}
	for _, what := range []string{"login", "read", "change", "revoke", "revokeAll", "update"} {
		if !kinds[what] {
			return false
		}
	}
	return true
}

// lastLook reads all sessions at a new node, and whether those that are there are listed.
func (w *world) lastLook(deeds []deed) (reads []deed, listed map[string]bool) {
	w.tb.Helper()
	n := &node{Config: Config{Work: w.options.Work, Node: Truth, Server: w.direct}}
	if err := n.open(); err != nil {
		w.tb.Fatal(err)
	}
	defer func() { _ = n.close() }()
	users := layer.Principals(n.chain)
	ctx := context.Background()
	listed = map[string]bool{}
	seen := map[string]bool{}
	handles := make([]map[string]bool, persons)
	for _, d := range deeds {
		if d.ID == "" || seen[d.ID] {
			continue
		}
		seen[d.ID] = true
		worker := &personWorker{node: n}
		var read []deed
		w.await(20*time.Second, "the sessions can be read after the faults", func() bool {
			read = worker.request(deed{Node: Truth, Person: d.Person, ID: d.ID, Start: now()}, false)
			return len(read) > 0
		})
		reads = append(reads, read...)
		if !read[0].Shown {
			continue
		}
		if handles[d.Person] == nil {
			handles[d.Person] = map[string]bool{}
			w.await(20*time.Second, "the sessions can be listed after the faults", func() bool {
				sessions, _, err := users.List(ctx, fmt.Sprint(d.Person), "")
				for _, s := range sessions {
					handles[d.Person][s.Handle] = true
				}
				return err == nil
			})
		}
		var handle string
		w.await(20*time.Second, "a session's handle is known after the faults", func() (known bool) {
			var err error
			handle, err = users.Handle(ctx, d.ID)
			return err == nil
		})
		listed[d.ID] = handles[d.Person][handle]
	}
	return reads, listed
}

func (p *Principals) broken(rule, id, format string, args ...any) {
	p.Broken[rule] = append(p.Broken[rule], id+" "+fmt.Sprintf(format, args...))
}

// violations are those that a history is written of.
func (p *Principals) violations() (all []Violation) {
	for rule, texts := range p.Broken {
		for _, text := range texts {
			var id string
			_, _ = fmt.Sscan(text, &id)
			all = append(all, Violation{Law: Law(rule), ID: id, Text: text})
		}
	}
	return all
}

// life is a session as the deeds show it.
type life struct {
	login  *deed // nil if it wasn't acknowledged
	reads  []deed
	alive  int64 // when it was there for sure: the bound before a read that showed it, the last such moment
	stored int64 // when the store had it; never if that isn't known
	over   int64 // from when on no read may show it; never if it may go on
	why    string
}

// arrived is when the store had a session that was logged in for sure.
func (l *life) arrived() int64 {
	if writesBehind(l.login.Node) {
		return l.stored
	}
	return l.login.End
}

// judge compares what was read with what had been acknowledged the bound before.
func (p *Principals) judge(deeds []deed, bounds Bounds) {
	slices.SortFunc(deeds, func(a, b deed) int { return cmp.Compare(a.Start, b.Start) })
	lives := map[string]*life{}
	persons := map[int][]*life{}
	for n, d := range deeds {
		if d.Outcome == OK {
			p.Deeds[d.What]++
		}
		if d.ID == "" {
			continue
		}
		l := lives[d.ID]
		if l == nil {
			l = &life{over: never, stored: never - int64(time.Hour)}
			lives[d.ID] = l
			persons[d.Person] = append(persons[d.Person], l)
		}
		switch {
		case d.What == "login" && d.Outcome == OK:
			l.login = &deeds[n]
			if !writesBehind(d.Node) {
				l.stored = min(l.stored, d.End)
			}
		case d.What == "read":
			l.reads = append(l.reads, d)
			if d.Shown {
				bound, _ := bounds.of(d.Node, d.Start)
				l.alive = max(l.alive, d.Start-bound)
				if !writesBehind(d.Node) {
					l.stored = min(l.stored, d.End)
				}
			}
		case d.What == "revoke" && d.Outcome == OK && l.over == never:
			l.over, l.why = d.End, "revoked by its handle"
		}
	}
	for _, d := range deeds {
		if d.What != "revokeAll" && d.What != "flush" || d.Outcome != OK {
			continue
		}
		for _, l := range persons[d.Person] {
			began := l.login != nil && l.login.End < d.Start
			switch {
			case d.End >= l.over:
			case d.What == "flush" && l.stored < d.Start: // one that was to be written behind may begin later
				l.over, l.why = d.End, "removed by FLUSHDB"
			case d.What == "revokeAll" && began:
				l.over, l.why = d.End, "revoked with all of its principal's"
			}
		}
	}
	for id, l := range lives {
		if l.login == nil {
			continue
		}
		person := persons[l.login.Person]
		for _, r := range l.reads {
			if r.Shown {
				bound, _ := bounds.of(r.Node, r.Start)
				p.judgeShown(id, l, r, person, bound)
			}
		}
	}
	for _, d := range deeds {
		if d.What != "update" || d.Outcome != OK || writesBehind(d.Node) {
			continue
		}
		for _, l := range persons[d.Person] {
			if l.login == nil || l.stored+bounds.Age > d.Start || emptied(*l.login, l.arrived(), deeds) {
				continue
			}
			for _, r := range l.reads {
				if bound, _ := bounds.of(r.Node, r.Start); r.Shown && r.Start > d.End+bound && r.Versions[fmt.Sprint(d.Writer)] < d.Version {
					p.broken(ruleUpdate, r.ID, "shows version %d of writer %d, %v after %d was acknowledged", r.Versions[fmt.Sprint(d.Writer)], d.Writer,
						time.Duration(r.Start-d.End), d.Version)
				}
			}
		}
	}
}

// judgeShown judges a read that showed a session.
func (p *Principals) judgeShown(id string, l *life, r deed, person []*life, bound int64) {
	if l.over != never && r.Start > l.over+bound {
		p.broken(ruleRevoked, id, "%s, and shown at node %d %v later", l.why, r.Node, time.Duration(r.Start-l.over))
	}
	var newer []string
	for _, other := range person {
		if other.login != nil && other.login.Start > l.login.End && other.login.End+bound < r.Start && other.alive >= r.Start-bound {
			newer = append(newer, fmt.Sprintf("%s (at node %d %v before)", other.login.ID, other.login.Node, time.Duration(r.Start-other.login.End)))
		}
	}
	if len(newer) >= personLimit {
		p.broken(ruleLimit, id, "(begun at node %d) shown at node %d beside later ones: %q", l.login.Node, r.Node, newer)
	}
}

// recordsOf are the deeds in the words of a history.
func recordsOf(deeds []deed) (records []Record) {
	kinds := map[string]Kind{"login": Login, "read": Read, "change": Change, "revoke": Logout, "revokeAll": Logout, "flush": Logout, "update": Change}
	ids := map[int]map[string]bool{}
	for _, d := range deeds {
		if ids[d.Person] == nil {
			ids[d.Person] = map[string]bool{}
		}
		if d.ID != "" {
			ids[d.Person][d.ID] = true
		}
	}
	for _, d := range deeds {
		r := Record{Node: d.Node, Writer: d.Writer, Kind: kinds[d.What], Outcome: d.Outcome, ID: d.ID, Version: d.Version, Absent: !d.Shown && d.What == "read", Start: d.Start, End: d.End}
		if d.ID != "" {
			records = append(records, r)
			continue
		}
		for id := range ids[d.Person] {
			r.ID = id
			records = append(records, r)
		}
	}
	return records
}

// Sound reports whether no rule was broken.
func (p *Principals) Sound() bool { return len(p.Broken) == 0 }

// Print writes what was found.
func (p *Principals) Print(out io.Writer) {
	reads, broken := p.Deeds["read"], 0
	for _, texts := range p.Broken {
		broken += len(texts)
	}
	_, _ = fmt.Fprintf(out, "sessions by whose they are, %s: faults %v\n", p.Topology, p.Faults)
	_, _ = fmt.Fprintf(out, "  %-15s %d reads checked, %d violations\n", "laws", reads, broken)
	_, _ = fmt.Fprintf(out, "  %-15s %d sessions begun, %d changed, %d ended by handle; %d times all of a principal's ended, %d changed\n",
		"load", p.Deeds["login"], p.Deeds["change"], p.Deeds["revoke"], p.Deeds["revokeAll"], p.Deeds["update"])
	for rule, texts := range p.Broken {
		for _, text := range texts[:min(len(texts), kept)] {
			_, _ = fmt.Fprintf(out, "  ! %s: %s\n", rule, text)
		}
	}
	if p.Folder != "" {
		_, _ = fmt.Fprintf(out, "  ! history       %s\n", p.Folder)
	}
}
