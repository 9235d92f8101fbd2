package coalesce

import (
	"context"
	"testing"
	"time"

	"github.com/gf-strata/strata/tiers"
)

func waitingWrite(t *testing.T, k *sessionQueue, base *tiers.Snapshot, key string, value any) *write {
	t.Helper()
	data := base.Map()
	data[key] = value
	delta, err := tiers.Diff(base, data)
	if err != nil {
		t.Fatal(err)
	}
	w := writeOf(context.Background(), change{id: k.id, delta: delta, ttl: time.Hour, pending: true})
	k.waiting = append(k.waiting, w)
	return w
}

func ids(writes []*write) (calls []int) {
	for _, w := range writes {
		calls = append(calls, w.calls)
	}
	return calls
}

// Readers see what the store holds and what waits, in the order in which it is applied.
func TestAPreviewIsInTheOrderOfTheWrites(t *testing.T) {
	base := tiers.Adopt(map[string]any{"k": "0", "seed": "0"})
	k := &sessionQueue{id: "a"}
	first, _, last := waitingWrite(t, k, base, "k", "1"), waitingWrite(t, k, base, "l", "1"), waitingWrite(t, k, base, "k", "2")
	if k.newest() != last || k.take() != first || k.first() == first {
		t.Fatal("the first write doesn't go first")
	}
	if state := k.preview(base); !state.Same(tiers.Adopt(map[string]any{"k": "2", "l": "1", "seed": "0"})) {
		t.Errorf("readers see %v", state.Map())
	}
	if k.back(first); k.first() != first {
		t.Error("a write that comes back isn't in front")
	}
	k.take()
	k.flying = nil
	first.snapshot = tiers.Adopt(map[string]any{"k": "1", "seed": "9"}) // another node has written
	if state := k.landed(first); !state.Same(tiers.Adopt(map[string]any{"k": "2", "l": "1", "seed": "9"})) {
		t.Errorf("after the first write readers see %v", state.Map())
	}
	if got := k.first().delta.Base().Get("k"); got != "1" {
		t.Errorf("the next write is made to k=%v, want what the store holds", got)
	}
}

// A removal waits in place of all writes, and another one with it.
func TestARemovalWaitsInPlaceOfAllWrites(t *testing.T) {
	base := tiers.Adopt(map[string]any{"k": "0"})
	k := &sessionQueue{id: "a", stored: base}
	waitingWrite(t, k, base, "k", "1")
	removal := writeOf(context.Background(), change{id: "a"})
	if k.annul(removal) != removal || k.first() != removal || len(k.waiting) != 1 || k.stored != nil {
		t.Fatal("the removal doesn't wait alone")
	}
	waitingWrite(t, k, base, "k", "2").calls = 2
	waitingWrite(t, k, base, "k", "3").calls = 3
	if k.annul(writeOf(context.Background(), change{id: "a"})) != removal || len(k.waiting) != 1 {
		t.Error("a removal doesn't wait with the one before it")
	}
	if got := ids(removal.annulled); len(got) != 3 || got[1] != 2 || got[2] != 3 {
		t.Errorf("annulled are the writes of %v calls", got)
	}
	k.take()
	if k.removal() != nil {
		t.Error("a removal that is at the store waits")
	}
	waitingWrite(t, k, base, "k", "4")
	if next := writeOf(context.Background(), change{id: "a"}); k.annul(next) != next || k.removal() != next {
		t.Error("a removal waits with one that is at the store")
	}
}

// A slide keeps what waits alive, and changes a deadline only if it is early by more than a slide may skip.
func TestASlideExtendsWhatWaits(t *testing.T) {
	base := tiers.Adopt(map[string]any{"k": "0"})
	k := &sessionQueue{id: "a"}
	if holds, _ := k.extend(time.Hour, time.Minute); holds {
		t.Error("nothing waits, and holds the session")
	}
	waitingWrite(t, k, base, "k", "1")
	for _, step := range []struct {
		left    time.Duration
		extends bool
	}{{time.Minute, true}, {time.Hour - time.Second, false}, {time.Hour - 2*time.Minute, true}} {
		k.deadline = time.Now().Add(step.left)
		holds, extended := k.extend(time.Hour, time.Minute)
		if left := time.Until(k.deadline); !holds || extended != step.extends || left < time.Hour-time.Minute {
			t.Errorf("with %v left: %v, %v, then %v", step.left, holds, extended, left)
		}
	}
	k.annul(writeOf(context.Background(), change{id: "a"}))
	if holds, _ := k.extend(time.Hour, time.Minute); holds {
		t.Error("a removal holds the session")
	}
}
