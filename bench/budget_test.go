package main

import (
	"testing"
	"time"

	"github.com/gf-strata/strata/bench/peers"
)

func everybody() []peers.Subject { return append(peers.All(), peers.GoRedisCache) }

// A person is promised ten minutes.
func TestAFullRunFitsIntoItsTime(t *testing.T) {
	if budgeted > 9*time.Minute {
		t.Errorf("%v are planned", budgeted)
	}
	least, more := full.takes(everybody())
	if least > budgeted {
		t.Errorf("with the fewest rounds a run takes %v, want %v at most", least, budgeted)
	}
	t.Logf("%v, and up to %v more", least, more)
}

// All workloads take as long as planned, and then half, and twice as long.
func TestRoundsFitIntoWhatIsLeft(t *testing.T) {
	groups := plan(full)
	for _, c := range []struct {
		factor time.Duration // in halves
		turns  int           // at least
	}{{1, 160}, {2, 50}, {4, 40}} {
		began := time.Unix(0, 0)
		now, b := began.Add(3*time.Minute+40*time.Second), newBudget(Options{Subjects: everybody()}, began, groups)
		turns := 0
		for _, g := range groups {
			now = now.Add(started * c.factor / 2)
			b.began()
			for _, w := range g.workloads {
				setup, most := g.weight(w, everybody(), g.most)
				until := b.share(now, setup, most)
				_, last := g.weight(w, everybody(), 1)
				now, last = now.Add(setup*c.factor/2), last*c.factor/2
				n := 0
				for ; g.fits(n, now, until, last); n++ {
					now = now.Add(last)
				}
				if turns += n; n < g.least || n > g.most {
					t.Errorf("%s has %d rounds", w.name, n)
				}
				if c.factor == 1 && n < 3 {
					t.Errorf("at half of %d times the cost %s has %d rounds", c.factor, w.name, n)
				}
			}
		}
		if c.factor <= 2 && now.After(b.end) {
			t.Errorf("at half of %d times the cost the run ends after %v", c.factor, now.Sub(began))
		}
		if turns < c.turns {
			t.Errorf("at half of %d times the cost there is time for %d rounds only", c.factor, turns)
		}
		t.Logf("%d halves of the cost: %v, %d rounds", c.factor, now.Sub(began), turns)
	}
}

func TestWithoutAnEndThereIsTimeForEverything(t *testing.T) {
	b := newBudget(Options{Quick: true}, time.Now(), plan(quick))
	until := b.share(time.Now(), time.Hour, time.Hour)
	g := group{least: 2, most: 4}
	for turns, want := range []bool{true, true, true, true, false} {
		if got := g.fits(turns, time.Now(), until, time.Hour); got != want {
			t.Errorf("after %d turns another one fits: %t, want %t", turns, got, want)
		}
	}
}

func TestASlowMachineFillsSmallerCaches(t *testing.T) {
	for took, want := range map[time.Duration]int{
		time.Millisecond: full.memory, sample * 5 * time.Microsecond: full.memory, sample * 20 * time.Microsecond: 750_000, time.Hour: 50_000,
	} {
		if got := full.fitting(took); got != want {
			t.Errorf("where a sample takes %v, %d sessions fill a cache, want %d", took, got, want)
		}
	}
}
