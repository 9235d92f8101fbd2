package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// A round begins when the subjects that don't have their turn are quiet: what they do in
// the background would be the measured one's loss. It waits that long for them at most.
const (
	glance       = 4 * time.Millisecond
	quietTimeout = 200 * time.Millisecond
	quietly      = glance / 20 // CPU time of all of them in a glance
)

// quiet waits until all processes are idle.
func (f *fleet) quiet() {
	for end := time.Now().Add(quietTimeout); time.Now().Before(end); {
		before := f.cpu()
		time.Sleep(glance)
		if f.cpu()-before < quietly {
			return
		}
	}
}

// cpu is what all processes have taken so far.
func (f *fleet) cpu() (sum time.Duration) {
	for _, p := range f.processes {
		var t unix.Timespec
		// Linux' clock of another process.
		if unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t) == nil {
			sum += time.Duration(t.Nano())
		}
	}
	return sum
}
