package main

import (
	"cmp"
	"slices"
	"sort"
)

// timeline returns which of some writes a read had to see: those that were acknowledged
// before some moment. It isn't changed once it is built.
//
// The writes stand in the order of their acknowledgement. newest is the largest rank of
// the writes up to each; the rank is the version of a writer's own key, and the start of
// a write to a key that many write.
type timeline struct {
	writes []*Record
	rank   func(*Record) int64
	newest []int64
}

func newTimeline(writes []*Record, rank func(*Record) int64) *timeline {
	t := &timeline{rank: rank}
	for _, w := range writes {
		if w.Acked != never {
			t.writes = append(t.writes, w)
		}
	}
	slices.SortFunc(t.writes, func(a, b *Record) int { return cmp.Compare(a.Acked, b.Acked) })
	for n, w := range t.writes {
		newest := rank(w)
		if n > 0 {
			newest = max(newest, t.newest[n-1])
		}
		t.newest = append(t.newest, newest)
	}
	return t
}

// missed are the writes that were acknowledged before a moment and rank above what a
// read saw, the earliest first. Where there are none, which is the rule, it costs one
// search.
func (t *timeline) missed(before, seen int64) (missed []*Record) {
	n := sort.Search(len(t.writes), func(n int) bool { return t.writes[n].Acked >= before })
	if n == 0 || t.newest[n-1] <= seen {
		return nil
	}
	first := sort.Search(n, func(n int) bool { return t.newest[n] > seen })
	for _, w := range t.writes[first:n] {
		if t.rank(w) > seen {
			missed = append(missed, w)
		}
	}
	return missed
}
