package main

// history is everything that was done to one session id. It isn't changed once it is
// built.
type history struct {
	logins  map[int64]*Record     // by epoch
	logouts []*Record             // refused ones left out
	written map[Token]*Record     // by what they left in the shared key
	own     map[ownLine]*timeline // by login and writer
	shared  map[int64]*timeline   // by login
	reads   []*Record
}

// ownLine is one writer's key in one log-in of a session.
type ownLine struct {
	epoch  int64
	writer int
}

func histories(records []Record) map[string]*history {
	all := map[string]*history{}
	own := map[string]map[ownLine][]*Record{}
	shared := map[string]map[int64][]*Record{}
	for n := range records {
		r := &records[n]
		h := all[r.ID]
		if h == nil {
			h = &history{logins: map[int64]*Record{}, written: map[Token]*Record{}, own: map[ownLine]*timeline{}, shared: map[int64]*timeline{}}
			all[r.ID], own[r.ID], shared[r.ID] = h, map[ownLine][]*Record{}, map[int64][]*Record{}
		}
		if r.Outcome == Revoked {
			// The log-in that the request was of wasn't there at some moment meanwhile; a later
			// one may have been. An attempt whose answer got lost may have been applied before
			// that moment.
			h.written[Token{r.Writer, r.Version}] = r
			h.reads = append(h.reads, &Record{Node: r.Node, Writer: r.Writer, Kind: Read, ID: r.ID, Epoch: r.Epoch, Absent: true, Start: r.Start, End: r.End})
			continue
		}
		switch r.Kind {
		case Read:
			h.reads = append(h.reads, r)
		case Logout:
			h.logouts = append(h.logouts, r)
		case Login, Change:
			if r.Kind == Login {
				h.logins[r.Epoch] = r
			}
			line := ownLine{r.Epoch, r.Writer}
			own[r.ID][line] = append(own[r.ID][line], r)
			shared[r.ID][r.Epoch] = append(shared[r.ID][r.Epoch], r)
			h.written[Token{r.Writer, r.Version}] = r
		}
	}
	for id, h := range all {
		for line, writes := range own[id] {
			h.own[line] = newTimeline(writes, func(w *Record) int64 { return w.Version })
		}
		for epoch, writes := range shared[id] {
			h.shared[epoch] = newTimeline(writes, func(w *Record) int64 { return w.Start })
		}
	}
	return all
}

// ended is the moment after which a write can't come any more.
func ended(w *Record) int64 {
	if w.Outcome == OK {
		return w.End
	}
	return never
}

// latest is the moment after which a log-out ends no session any more.
func latest(out *Record) int64 {
	if out.Outcome == Perhaps {
		return out.End
	}
	return out.Acked
}

// logoutStood reports whether a log-in had been logged out for sure when another one began, and no server has lost
// that. It hadn't been if it is the later one, and servers went back to the state before it.
func (h *history) logoutStood(earlier, login *Record) bool {
	for _, out := range h.logouts {
		if out.Acked < login.Start && (earlier == nil || out.End > earlier.Start) {
			return true
		}
	}
	return false
}
