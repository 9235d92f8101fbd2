package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// host stands for the test where there is none: the servers of redistest want one to
// clean up after. It belongs to the driver's goroutine.
type host struct {
	testing.TB
	cleanups []func()
}

// failure is what host panics with, and close's caller recovers.
type failure string

func (h *host) Helper()           {}
func (h *host) Cleanup(f func())  { h.cleanups = append(h.cleanups, f) }
func (h *host) Log(args ...any)   { _, _ = fmt.Fprintln(os.Stderr, args...) }
func (h *host) Fatal(args ...any) { panic(failure(fmt.Sprint(args...))) }
func (h *host) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (h *host) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "nodes")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// close stops everything that was started, the last first.
func (h *host) close() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	h.cleanups = nil
}
