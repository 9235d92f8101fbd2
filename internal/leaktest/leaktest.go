// Package leaktest fails tests that leave goroutines behind.
package leaktest

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// deadline is for goroutines that are about to end, on a busy machine.
const deadline = time.Minute

// Main is a package's TestMain: its tests leave no goroutine but the others, and those that run
// before, as GoFrame's packages start some for good as they are imported.
func Main(m interface{ Run() int }, others ...goleak.Option) {
	others = append(others, goleak.IgnoreCurrent())
	code := m.Run()
	for end := time.Now().Add(deadline); code == 0; {
		left := goleak.Find(others...)
		if left == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, left)
			code = 1
		}
	}
	os.Exit(code)
}
