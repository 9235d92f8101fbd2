package main

// Loss is a time in which the servers themselves may have lost what they had
// acknowledged, and what the new masters held after it.
//
// Redis replicates asynchronously: a master acknowledges a write before its replicas have it,
// so that a replica which takes over may lack writes. WAIT says how many replicas have a
// write, and doesn't prevent that one without it is chosen, so that it doesn't make Redis
// strongly consistent either. The driver has the replica confirm, with WAIT, a write
// made just before it forces a failover: From is the moment before that write, so that
// what was acknowledged earlier is on the replica, and its loss wouldn't be Redis' own.
type Loss struct {
	From, To int64
	Held     map[string]*Record // what the masters held at To
	Writes   int                // set by apply: acknowledged writes that were gone
}

// newLoss is a loss, given what was read from the masters when it was over.
func newLoss(from, to int64, held []Record) Loss {
	l := Loss{From: from, To: to, Held: map[string]*Record{}}
	for n := range held {
		l.Held[held[n].ID] = &held[n]
		l.To = max(l.To, held[n].End)
	}
	return l
}

// apply judges the writes that overlap the loss by what the masters held after it: those
// that it still showed must be seen from then on, the others needn't.
func (l *Loss) apply(records []Record) {
	ended, began := map[string]bool{}, map[string]int64{} // sessions logged out meanwhile, and their last log-ins
	for n := range records {
		switch w := &records[n]; {
		case w.Kind == Login:
			began[w.ID] = max(began[w.ID], w.Start)
		case w.Kind == Logout && w.Start <= l.To && (w.Outcome != OK || w.End >= l.From):
			ended[w.ID] = true
		}
	}
	for n := range records {
		w := &records[n]
		if w.Kind == Read || w.Outcome != OK || w.End < l.From || w.Start > l.To || w.Acked == never {
			continue
		}
		if l.shows(w) {
			w.Acked = max(w.Acked, l.To)
			continue
		}
		w.Acked = never
		followed := w.Kind != Logout && ended[w.ID] || w.Kind == Logout && began[w.ID] > w.Start
		if w.End < l.To && !followed && !isBrief(w.ID) {
			l.Writes++
		}
	}
}

// shows reports whether the masters held what the write had left. It can't know if
// the session was logged out, or in again, since.
func (l *Loss) shows(w *Record) bool {
	held := l.Held[w.ID]
	if w.Kind == Logout {
		return held == nil || held.Absent
	}
	return held != nil && !held.Absent && held.Epoch == w.Epoch && held.version(w.Writer) >= w.Version
}
