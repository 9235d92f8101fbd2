package main

import "fmt"

// Law is what a read broke.
type Law string

const (
	Stale       Law = "stale beyond the bound"
	Late        Law = "late without a fault"
	Backwards   Law = "went back"
	OwnWrite    Law = "read-your-writes"
	Resurrected Law = "resurrected"
	Expired     Law = "shown after its expiry"
	Lost        Law = "lost"
	Invented    Law = "never written"
	NotLinear   Law = "not linearizable"
	Disagrees   Law = "disagrees with the store"
)

// Violation is one read that mustn't have had its result.
type Violation struct {
	Law  Law
	ID   string // the session's
	Text string
}

// Verdict is what checks of records found.
type Verdict struct {
	Reads      int
	Ages       Ages // of the reads that missed an acknowledged write
	InGaps     Ages // of those in a gap
	Expired    int  // reads that found none of a session, which had expired
	Carried    int  // keys of an earlier log-in under the same id, a known limit
	Violations []Violation
}

// Bounds are the ages in nanoseconds which what another node wrote may have: Age, but for
// reads in a gap.
type Bounds struct {
	Age  int64
	Gaps []Gap
}

// Gap is a time in which a node isn't notified of changes, and may not know that.
type Gap struct {
	Node     int
	From, To int64
}

// of is the bound of a read, and whether it is in a gap: there it may miss all that the node
// needn't have known when the gap began.
func (b Bounds) of(node int, start int64) (age int64, gap bool) {
	age = b.Age
	for _, g := range b.Gaps {
		if g.Node == node && g.From <= start && start <= g.To {
			age, gap = max(age, b.Age+start-g.From), true
		}
	}
	return age, gap
}

// checker judges reads. quiet is a time in which bounds.Age is less; both aren't changed while
// the checker works.
type checker struct {
	bounds  Bounds
	quiet   Quiet
	verdict *Verdict
	found   map[Law]int
	carried map[carried]bool
}

// carried is a key of an earlier log-in that a later one under the same id shows.
type carried struct {
	id    string
	epoch int64
	cell  Cell
}

// Check judges every read in the records of all nodes, which are complete: whatever was
// done to their sessions is among them. Losses of the server are known already.
func Check(records []Record, bounds Bounds, losses []Loss, quiet Quiet) Verdict {
	for n := range records {
		records[n].Acked = ended(&records[n])
	}
	for n := range losses {
		losses[n].apply(records)
	}
	c := &checker{bounds: bounds, quiet: quiet, verdict: &Verdict{}, found: map[Law]int{}, carried: map[carried]bool{}}
	all := histories(records)
	for id, h := range all {
		if isOwn(id) {
			continue // logged in at any worker; see Linearizable
		}
		for _, r := range h.reads {
			c.verdict.Reads++
			c.read(h, r)
		}
	}
	if len(losses) == 0 {
		c.backwards(records, all)
	}
	c.verdict.Carried = len(c.carried)
	return *c.verdict
}

// Disagreeing judges the nodes' reads at the end of a round by what the masters held before and after them: of a
// session that was the same for so long nobody shows anything else, however it came to be so.
func Disagreeing(before, reads, after []Record) (violations []Violation) {
	held := map[string]*Record{}
	for n := range before {
		held[before[n].ID] = &before[n]
	}
	for n := range after {
		if r := &after[n]; held[r.ID] != nil && !held[r.ID].same(r) {
			delete(held, r.ID)
		}
	}
	for n := range reads {
		if r := &reads[n]; !isBrief(r.ID) && held[r.ID] != nil && !held[r.ID].same(r) {
			violations = append(violations, Violation{Disagrees, r.ID, fmt.Sprintf("%s at node %d isn't what the masters hold", r.ID, r.Node)})
		}
	}
	return violations
}

// read judges one read: what it missed, and whether all that it saw was written.
func (c *checker) read(h *history, r *Record) {
	bound, gap := c.bounds.of(r.Node, r.Start)
	oldest := int64(never) // the acknowledgement of the first write that it missed
	broken := map[Law]bool{}
	miss := func(w *Record, what Law) {
		oldest = min(oldest, w.Acked)
		age := r.Start - w.Acked
		switch {
		case r.Node == Truth:
		case r.Node == w.Node:
			what = OwnWrite
		case age <= bound && c.quiet.late(w, r):
			what = Late
		case age <= bound:
			return
		case what == Lost:
			what = Stale
		}
		if broken[what] {
			return // once a read and law
		}
		broken[what] = true
		c.violate(what, r, "%s of %s, acknowledged %.1f ms before by node %d",
			[]string{"", "a change", "a log-in", "a log-out"}[w.Kind], r.ID, float64(age)/1e6, w.Node)
	}
	switch {
	case r.Absent:
		c.absent(h, r, miss)
	case r.Epoch == 0:
		c.violate(Resurrected, r, "%s holds data and no log-in", r.ID)
	default:
		c.present(h, r, bound, miss)
	}
	switch {
	case oldest == never || r.Node == Truth:
	case gap:
		c.verdict.InGaps.Add(r.Start - oldest)
	default:
		c.verdict.Ages.Add(r.Start - oldest)
	}
}

// absent judges a read that found no session: a log-in may be missed only where a
// log-out came after it, or may have.
func (c *checker) absent(h *history, r *Record, miss func(*Record, Law)) {
	for _, login := range h.logins {
		if login.Acked >= r.Start || r.Epoch != 0 && login.Epoch != r.Epoch {
			continue // the refusal of an earlier log-in's request says nothing of a later one
		}
		gone := false
		for _, out := range h.logouts {
			gone = gone || out.Start < r.End && latest(out) > login.Start
		}
		if !gone && r.End >= h.kept(r) {
			gone = true
			c.verdict.Expired++
		}
		if !gone {
			miss(login, Lost)
		}
	}
}

// present judges a read that found a session.
func (c *checker) present(h *history, r *Record, bound int64, miss func(*Record, Law)) {
	login := h.logins[r.Epoch]
	if login == nil || login.Start > r.End {
		c.violate(Invented, r, "%s shows a log-in that nobody made", r.ID)
		return
	}
	if over := h.over(r); over != never && r.Start-over > bound {
		c.violate(Expired, r, "%s is shown %.1f ms after its expiry", r.ID, float64(r.Start-over)/1e6)
	}
	for _, out := range h.logouts {
		if out.Start > ended(login) && out.Acked < r.Start {
			miss(out, Resurrected)
		}
	}
	for line, t := range h.own {
		if line.epoch != r.Epoch {
			continue
		}
		// It is enough to know one that is acknowledged by the reader, and the oldest.
		c.first(t.missed(r.Start, r.version(line.writer)), r, miss)
	}
	if last := h.written[r.Last]; last == nil || last.Start > r.End {
		c.violate(Invented, r, "%s shows a value that nobody wrote", r.ID)
	} else if t := h.shared[r.Epoch]; t != nil && last.Epoch == r.Epoch && ended(last) != never {
		// Only writes that began when this one had ended are surely later.
		c.first(t.missed(r.Start, last.End), r, miss)
	}
	for _, cell := range r.Cells {
		w := h.written[Token(cell)]
		switch {
		case w == nil || w.Start > r.End:
			c.violate(Invented, r, "%s shows a version that nobody wrote", r.ID)
		case w.Epoch != r.Epoch && (w.Outcome == Revoked || w.Outcome == OK && w.Node == login.Node) && h.logoutStood(h.logins[w.Epoch], login):
			c.violate(Resurrected, r, "%s shows a change of an earlier log-in that was refused, or that its own node should have", r.ID)
		case w.Epoch != r.Epoch:
			c.carried[carried{r.ID, r.Epoch, cell}] = true
		}
	}
}

// first reports the oldest write that was missed, and the oldest of the reader's node.
func (c *checker) first(missed []*Record, r *Record, miss func(*Record, Law)) {
	if len(missed) == 0 {
		return
	}
	miss(missed[0], Lost)
	for _, w := range missed[1:] {
		if w.Node == r.Node {
			miss(w, Lost)
			return
		}
	}
}

// kept is how many violations of each law are described; all are counted.
const kept = 5

func (c *checker) violate(law Law, r *Record, format string, args ...any) {
	text := ""
	if c.found[law]++; c.found[law] <= kept {
		where := fmt.Sprintf("node %d", r.Node)
		if r.Node == Truth {
			where = "the server itself"
		}
		text = fmt.Sprintf(format, args...) + ", in a read at " + where
	}
	c.verdict.Violations = append(c.verdict.Violations, Violation{law, r.ID, text})
}
