package sessionmap

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAbsencesAreTakenOnce(t *testing.T) {
	var a absences
	if a.take("a") {
		t.Error("an absence that wasn't noted was taken")
	}
	a.note("a")
	a.note("a")
	a.note("b")
	for n, want := range []bool{true, true, false} {
		if got := a.take("a"); got != want {
			t.Errorf("take %d = %v", n+1, got)
		}
	}
	if !a.take("b") {
		t.Error("another session's absence was taken")
	}
}

func TestAbsencesLastAMinuteAtLeastAndTwoAtMost(t *testing.T) {
	for wait, want := range map[time.Duration]bool{
		0: true, absenceLife: true, 2 * absenceLife: true, 2*absenceLife + 1: false, time.Hour: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			var a absences
			a.note("a")
			time.Sleep(wait)
			if got := a.take("a"); got != want {
				t.Errorf("after %v: take = %v, want %v", wait, got, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var a absences
		a.note("a")
		for range 3 {
			time.Sleep(absenceLife - time.Second)
			a.note("b")
		}
		if a.take("a") {
			t.Error("an absence outlives two minutes where others are noted")
		}
		if first, second := a.take("b"), a.take("b"); !first || !second {
			t.Error("an absence doesn't live for a minute")
		}
	})
}

func TestAbsencesAreBounded(t *testing.T) {
	var a absences
	for n := range 3 * generationSize {
		a.note(fmt.Sprint(n))
		if size := a.counts.Len(); size > 2*generationSize {
			t.Fatalf("%d absences are kept", size)
		}
	}
	if !a.take(fmt.Sprint(3*generationSize-1)) || a.take("0") {
		t.Error("the latest absences must be kept, and the first dropped")
	}
}

func TestAbsencesTakeConcurrentUse(t *testing.T) {
	var a absences
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				a.note("a")
				for range 2 {
					if a.take("a") {
						taken.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	for a.take("a") {
		taken.Add(1)
	}
	if taken.Load() != 2000 {
		t.Errorf("%d absences were taken of 2,000", taken.Load())
	}
}
