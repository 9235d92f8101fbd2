// Package poll waits in tests for what other goroutines, processes and servers do in their own time.
package poll

import (
	"testing"
	"time"
)

// deadline is generous, as the machine may be busy: it ends a wait that is in vain.
const deadline = time.Minute

// Until waits until ok returns true. It ends the test, with what it has waited for, when a minute has passed.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	if !Try(ok) {
		tb.Fatalf("waited a minute in vain for: %s", what)
	}
}

// Try waits until ok returns true, or a minute has passed: it reports which. Use it where the test has more to say than Until.
func Try(ok func() bool) bool {
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
