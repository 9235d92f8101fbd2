// Package leaktest fails tests that leave goroutines behind.
package leaktest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/gf-strata/strata/internal/poll"
)

// Main is a package's TestMain: its tests leave no goroutine but the others, and those that run
// before, as GoFrame's packages start some for good as they are imported.
func Main(m interface{ Run() int }, others ...goleak.Option) {
	others = append(others, goleak.IgnoreCurrent())
	code := m.Run()
	if code == 0 {
		if left := find(others); left != nil {
			fmt.Fprintln(os.Stderr, left)
			code = 1
		}
	}
	os.Exit(code)
}

// Ended fails the test unless all goroutines end but the others.
func Ended(tb testing.TB, others ...goleak.Option) {
	tb.Helper()
	if left := find(others); left != nil {
		tb.Error(left)
	}
}

// find returns the goroutines that don't end.
func find(others []goleak.Option) (left error) {
	poll.Try(func() bool { left = goleak.Find(others...); return left == nil })
	return left
}
