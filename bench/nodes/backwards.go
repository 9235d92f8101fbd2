package main

import (
	"cmp"
	"fmt"
	"slices"
)

// shown is what one node has shown of one session so far.
type shown struct {
	newest map[ownLine]seenAt // of each key
	first  map[int64]int64    // of a log-in, the earliest end of a read that showed it
	left   map[int64]int64    // the earliest end of one that, later than that, didn't
}

// seenAt is a version, and when the first read ended that showed it.
type seenAt struct{ version, at int64 }

// backwards judges reads of one node: of two that don't overlap, the later mustn't show an
// older state. Of a log-in no version is older than one shown before, and once another
// state was shown than a log-in, that one doesn't come back.
func (c *checker) backwards(records []Record) {
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
	for _, started := range reads {
		slices.SortFunc(started, func(a, b *Record) int { return cmp.Compare(a.Start, b.Start) })
		ended := slices.SortedFunc(slices.Values(started), func(a, b *Record) int { return cmp.Compare(a.End, b.End) })
		s := shown{newest: map[ownLine]seenAt{}, first: map[int64]int64{}, left: map[int64]int64{}}
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
	for epoch, first := range s.first {
		if _, left := s.left[epoch]; !left && epoch != r.Epoch && first < r.Start {
			s.left[epoch] = r.End
		}
	}
	if r.Absent || r.Epoch == 0 {
		return
	}
	if _, known := s.first[r.Epoch]; !known {
		s.first[r.Epoch] = r.End
	}
	for _, cell := range r.Cells {
		line := ownLine{r.Epoch, cell.Writer}
		if cell.Version > s.newest[line].version {
			s.newest[line] = seenAt{cell.Version, r.End}
		}
	}
}

// newer says what was shown that is newer than what a read shows, "" for nothing.
func (s *shown) newer(r *Record) string {
	if r.Absent || r.Epoch == 0 {
		return ""
	}
	if left, ok := s.left[r.Epoch]; ok {
		return fmt.Sprintf("shows a log-in again, %.1f ms after another state", float64(r.Start-left)/1e6)
	}
	for line, seen := range s.newest {
		if version := r.version(line.writer); line.epoch == r.Epoch && version < seen.version {
			return fmt.Sprintf("shows version %d of writer %d, %.1f ms after version %d", version, line.writer, float64(r.Start-seen.at)/1e6, seen.version)
		}
	}
	return ""
}
