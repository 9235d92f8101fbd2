package main

import (
	"cmp"
	"slices"
)

// shown is what one node has shown of one session so far.
type shown struct {
	version map[ownLine]int64 // the newest of each key
	first   map[int64]int64   // of a log-in, the earliest end of a read that showed it
	left    map[int64]int64   // the earliest end of one that, later than that, didn't
}

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
		s := shown{version: map[ownLine]int64{}, first: map[int64]int64{}, left: map[int64]int64{}}
		for _, r := range started {
			for len(ended) > 0 && ended[0].End < r.Start {
				s.add(ended[0])
				ended = ended[1:]
			}
			if s.newer(r) {
				c.violate(Backwards, r, "%s is older than what the node had shown before", r.ID)
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
		s.version[line] = max(s.version[line], cell.Version)
	}
}

// newer reports whether what was shown is newer than what a read shows.
func (s *shown) newer(r *Record) bool {
	if r.Absent || r.Epoch == 0 {
		return false
	}
	if _, left := s.left[r.Epoch]; left {
		return true
	}
	for line, version := range s.version {
		if line.epoch == r.Epoch && r.version(line.writer) < version {
			return true
		}
	}
	return false
}
