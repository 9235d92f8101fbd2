package tiers

import (
	"maps"
	"slices"
)

// Join is the delta that does what d and then later do, and whose outcome stands for
// both. Not all pairs have one: where the session is gone, an update is refused and an
// addition isn't.
func (d *Delta) Join(later *Delta) (*Delta, bool) {
	switch {
	case d.kind != later.kind, d.conditional, later.conditional:
		return nil, false
	case d.kind == replaceDelta:
		return later, true
	case d.kind == updateDelta && (!d.loaded() || !later.loaded()), d.isRevoked() != later.isRevoked():
		return nil, false
	}
	joined := &Delta{kind: d.kind, base: d.base, had: d.had, formed: d.formed && later.formed}
	joined.set = overwrite(d.set, later.set, later.removed)
	joined.deaths = joinDeaths(d.deaths, later.deaths)
	joined.removed = joinRemoved(d, later)
	return joined, true
}

// joinRemoved are the keys that one of the two removed and the later one hasn't set.
func joinRemoved(d, later *Delta) []string {
	if len(d.removed) == 0 {
		return later.removed
	}
	removed := map[string]bool{}
	for _, key := range d.removed {
		removed[key] = true
	}
	for key := range later.set {
		delete(removed, key)
	}
	for _, key := range later.removed {
		removed[key] = true
	}
	return slices.Collect(maps.Keys(removed))
}

// overwrite is a copy of set without what is removed and with what comes later.
func overwrite(set, later map[string]any, removed []string) map[string]any {
	next := make(map[string]any, len(set)+len(later))
	maps.Copy(next, set)
	for _, key := range removed {
		delete(next, key)
	}
	maps.Copy(next, later)
	return next
}

// joinDeaths are the removals that revoke either delta, one for each face that looks out
// for the session, however many deltas were joined.
func joinDeaths(some, more []death) []death {
	all := slices.Clone(some)
	for _, m := range more {
		same := func(a death) bool { return a.tombstones == m.tombstones && a.id == m.id }
		if n := slices.IndexFunc(all, same); n >= 0 {
			all[n].stamp = min(all[n].stamp, m.stamp)
		} else {
			all = append(all, m)
		}
	}
	return all
}

// loaded reports whether the delta is refused where the session is gone.
func (d *Delta) loaded() bool { return d.kind == updateDelta && d.had && !d.cleared }

// Onto is the same change, made by a request that was given another state: the one
// that the store is known to hold by now.
func (d *Delta) Onto(current *Snapshot) *Delta {
	if !d.loaded() || d.conditional || current == nil || current.Len() == 0 {
		return d
	}
	moved := *d
	moved.base = current
	return &moved
}
