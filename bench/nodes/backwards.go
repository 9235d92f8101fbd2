package main

import (
	"cmp"
	"fmt"
	"slices"
)

// shown is what one node has shown of one session in the reads that have ended.
type shown struct {
	h      *history
	newest map[ownLine]seenAt // the largest version of each key
	last   map[int64]seenAt   // of a log-in, the latest start of the writes of the shared key
	logins map[int64]int64    // the earliest end of a read that showed a log-in
	left   map[int64]int64    // the earliest end of one that, later than that, didn't
}

// seenAt is a version or a moment, and when the first read ended that showed it.
type seenAt struct{ what, at int64 }

// backwards judges reads of one node: of two that don't overlap, the later mustn't show an
// older state. How long before it was written doesn't matter, nor which node wrote it.
func (c *checker) backwards(records []Record, all map[string]*history) {
	type place struct {
		node int
		id   string
	}
	reads := map[place][]*Record{}
	for n := range records {
		if r := &records[n]; r.Kind == Read && r.Node >= 0 {
			at := place{r.Node, r.ID}
			reads[at] = append(reads[at], r)
		}
	}
	for at, started := range reads {
		slices.SortFunc(started, func(a, b *Record) int { return cmp.Compare(a.Start, b.Start) })
		ended := slices.SortedFunc(slices.Values(started), func(a, b *Record) int { return cmp.Compare(a.End, b.End) })
		s := shown{h: all[at.id], newest: map[ownLine]seenAt{}, last: map[int64]seenAt{}, logins: map[int64]int64{}, left: map[int64]int64{}}
		for _, r := range started {
			for len(ended) > 0 && ended[0].End < r.Start {
				s.add(ended[0])
				ended = ended[1:]
			}
			if text := s.newer(r); text != "" {
				c.violate(Backwards, r, "%s %s", r.ID, text)
			}
		}
	}
}

// add is called in the order in which reads ended.
func (s *shown) add(r *Record) {
	for epoch, first := range s.logins {
		if _, left := s.left[epoch]; !left && epoch != r.Epoch && first < r.Start {
			s.left[epoch] = r.End
		}
	}
	if r.Absent || r.Epoch == 0 {
		return
	}
	if _, known := s.logins[r.Epoch]; !known {
		s.logins[r.Epoch] = r.End
	}
	for _, cell := range r.Cells {
		line := ownLine{r.Epoch, cell.Writer}
		if cell.Version > s.newest[line].what {
			s.newest[line] = seenAt{cell.Version, r.End}
		}
	}
	if w := s.h.written[r.Last]; w != nil && w.Epoch == r.Epoch && w.Start > s.last[r.Epoch].what {
		s.last[r.Epoch] = seenAt{w.Start, r.End}
	}
}

// newer says what was shown that is newer than what a read shows, "" for nothing.
func (s *shown) newer(r *Record) string {
	ago := func(at int64) float64 { return float64(r.Start-at) / 1e6 }
	if r.Absent {
		for epoch, at := range s.logins {
			if !isBrief(r.ID) && !s.mayBeGone(epoch, r) {
				return fmt.Sprintf("shows no log-in, %.1f ms after one that nobody ended", ago(at))
			}
		}
		return ""
	}
	if left, ok := s.left[r.Epoch]; ok {
		return fmt.Sprintf("shows a log-in again, %.1f ms after another state", ago(left))
	}
	if login := s.h.logins[r.Epoch]; login != nil {
		for epoch, at := range s.logins {
			if later := s.h.logins[epoch]; later != nil && ended(login) < later.Start {
				return fmt.Sprintf("shows a log-in, %.1f ms after a later one", ago(at))
			}
		}
	}
	for line, seen := range s.newest {
		if version := r.version(line.writer); line.epoch == r.Epoch && version < seen.what {
			return fmt.Sprintf("shows version %d of writer %d, %.1f ms after version %d", version, line.writer, ago(seen.at), seen.what)
		}
	}
	if w := s.h.written[r.Last]; w != nil && w.Epoch == r.Epoch && ended(w) < s.last[r.Epoch].what {
		return fmt.Sprintf("shows a value of the shared key, %.1f ms after a later one", ago(s.last[r.Epoch].at))
	}
	return ""
}

// mayBeGone reports whether a log-out may have come after a log-in, for all that a read
// could know.
func (s *shown) mayBeGone(epoch int64, r *Record) bool {
	login := s.h.logins[epoch]
	if login == nil {
		return true
	}
	for _, out := range s.h.logouts {
		if out.Start < r.End && latest(out) > login.Start {
			return true
		}
	}
	return false
}
