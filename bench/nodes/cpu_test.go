package main

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestTheTimeThatOthersUsed(t *testing.T) {
	all, used, err := parseMachine("cpu  100 20 30 4000 500 6 70 8 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if err != nil || all != 100+20+30+4000+500+6+70+8 || used != 100+20+30+8 {
		t.Errorf("all %d, used %d, %v", all, used, err)
	}
	pid, parent, ticks, err := parseProcess("42 (a (b) c) R 7 42 42 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5\n")
	if err != nil || pid != 42 || parent != 7 || ticks != 33 {
		t.Errorf("pid %d, parent %d, %d ticks, %v", pid, parent, ticks, err)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu 1 2 3 x 5 6 7 8", "intr 1 2 3 4 5 6 7 8"} {
		if _, _, err := parseMachine(text); err == nil {
			t.Errorf("a machine of %q", text)
		}
	}
	for _, text := range []string{"", "42 (a)", "42 (a) R 7", "x (a) R 7 42 42 0 -1 4194304 100 0 0 0 11 22"} {
		if _, _, _, err := parseProcess(text); err == nil {
			t.Errorf("a process of %q", text)
		}
	}
	earlier := cpuTime{all: 1000, used: 500, own: 100}
	for name, test := range map[string]struct {
		later cpuTime
		busy  bool
	}{
		"a machine that is left to the run":  {cpuTime{all: 2000, used: 1480, own: 1060}, false},
		"one that does nothing":              {cpuTime{all: 2000, used: 510, own: 100}, false},
		"two loops beside a run that waits":  {cpuTime{all: 2000, used: 1480, own: 150}, true},
		"two loops beside a run at its most": {cpuTime{all: 2000, used: 1480, own: 600}, true},
		"one loop":                           {cpuTime{all: 2000, used: 1480, own: 860}, true},
		"rounding":                           {cpuTime{all: 2000, used: 600, own: 203}, false},
		"no time":                            {earlier, false},
	} {
		f := Figures{Others: test.later.others(earlier)}
		if f.busy() != test.busy {
			t.Errorf("%s: others used %v", name, f.Others)
		}
	}
}

// The time of children and grandchildren counts as the own time of this process.
func TestTheTimeThatTheRunUsed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	loop := exec.Command("sh", "-c", "while :; do :; done & wait")
	loop.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := loop.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-loop.Process.Pid, syscall.SIGKILL)
		_ = loop.Wait()
	})
	before, err := readCPU()
	if err != nil {
		t.Fatal(err)
	}
	own := func() time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	began := own()
	const tick = 10 * time.Millisecond
	if !polled(30*time.Second, func() bool {
		after, err := readCPU()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(after.own-before.own)*tick > own()-began+10*tick
	}) {
		t.Error("a grandchild's time isn't counted as the run's")
	}
}
