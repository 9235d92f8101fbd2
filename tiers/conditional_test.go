package tiers

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the store holds by then, a change that is repeated overwrites nothing that the
// request hadn't seen, and says so where that leaves something out.
func TestARepeatedChangeOverwritesNothingNewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, current := drawSnapshot(t, "base", false), drawSnapshot(t, "current", true)
		d := mustDiff(t, base, drawData(t, "data", false)).Conditional(base)
		next, err := d.Apply(current)
		if next == nil && current == nil {
			if err == nil && len(d.Set()) > 0 {
				t.Fatal("a change of a session that is gone is neither written nor refused")
			}
			return
		}
		if current == nil {
			t.Fatalf("a session that is gone is back: %v", next)
		}
		if next == nil {
			next = current.data
		}
		for _, key := range []string{"a", "b", "c", "d"} {
			before, had := base.data[key]
			now, has := current.data[key]
			after, kept := next[key]
			newer := had != has || !equal(before, now)
			if newer && (has != kept || !equal(now, after)) {
				t.Fatalf("%s was %v, is %v, and becomes %v", key, before, now, after)
			}
		}
		if err == nil && current.Len() > 0 && !d.Empty() {
			if more, err := d.Apply(Adopt(next)); more != nil || err != nil {
				t.Fatalf("%v leaves something out of %v and says nothing: %v, %v", d, next, more, err)
			}
		}
	})
}

// After it was applied, a repetition changes nothing and succeeds.
func TestARepeatedChangeIsDoneOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := drawSnapshot(t, "base", true)
		var d *Delta
		switch data := drawData(t, "data", false); {
		case base == nil && rapid.Bool().Draw(t, "whole"):
			d, _ = Replace(data)
		case base == nil:
			d, _ = Add(data)
		default:
			d = mustDiff(t, base, data)
		}
		first, err := d.Apply(base)
		if err != nil || len(first) == 0 {
			return
		}
		if next, err := d.Conditional(base).Apply(Adopt(first)); next != nil || err != nil {
			t.Fatalf("a repetition writes %v, %v over %v", next, err, first)
		}
	})
}

// A session that an attempt may have begun isn't begun again, and its changes don't get into one that
// another request has begun.
func TestASessionIsBegunOnce(t *testing.T) {
	add, _ := Add(values{"user": "a", "cart": 1})
	whole, _ := Replace(values{"user": "a", "cart": 1})
	cleared := mustDiff(t, Adopt(values{"old": 1}), values{"user": "a", "cart": 1})
	for name, d := range map[string]*Delta{"an addition": add, "a replacement": whole, "all new keys": cleared} {
		again := d.Conditional(nil)
		for what, current := range map[string]*Snapshot{"nothing": nil, "an empty session": Adopt(values{}), "another session": Adopt(values{"user": "b"})} {
			if next, err := again.Apply(current); next != nil || !errors.Is(err, ErrConflict) {
				t.Errorf("%s, over %s: %v, %v", name, what, next, err)
			}
		}
		if next, err := again.Apply(Adopt(values{"user": "a", "cart": 1})); next != nil || err != nil {
			t.Errorf("%s, over itself: %v, %v", name, next, err)
		}
		if d != cleared && !again.NeedsCurrent() {
			t.Errorf("%s is repeated without a look", name)
		}
	}
	joined := add.Conditional(Adopt(values{"theirs": 1, "n": 1})) // the attempt was made on a session
	if next, err := joined.Apply(Adopt(values{"theirs": 1, "n": 2})); err != nil || !equal(next, values{"theirs": 1, "n": 2, "user": "a", "cart": 1}) {
		t.Errorf("an addition to a session that is still there: %v, %v", next, err)
	}
	if next, err := joined.Apply(nil); next != nil || !errors.Is(err, ErrRevoked) {
		t.Errorf("an addition to a session that is gone: %v, %v", next, err)
	}
}
