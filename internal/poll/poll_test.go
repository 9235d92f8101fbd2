package poll_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/internal/poll"
)

// failure keeps what ends a test.
type failure struct {
	testing.TB
	text string
}

func (f *failure) Helper()                        {}
func (f *failure) Fatalf(format string, v ...any) { f.text = fmt.Sprintf(format, v...) }

func TestAWaitEndsWhenItsConditionHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, holds := &failure{}, time.Now().Add(50*time.Second)
		poll.Until(f, "the hour", func() bool { return !time.Now().Before(holds) })
		if f.text != "" || time.Since(holds) > time.Second {
			t.Errorf("%q, %v later", f.text, time.Since(holds))
		}
	})
}

func TestAWaitInVainSaysForWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, began := &failure{}, time.Now()
		poll.Until(f, "pigs fly", func() bool { return false })
		if f.text != "waited a minute in vain for: pigs fly" || time.Since(began) < time.Minute {
			t.Errorf("%q after %v", f.text, time.Since(began))
		}
	})
}
