package main

import (
	"context"
	"errors"
	"fmt"
	"go/version"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gf-strata/strata/bench/report"
)

// machine is where the bench runs, and of what.
func machine() report.Machine {
	m := report.Machine{CPU: "unknown", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Redis: "unknown", Commit: "unknown", Kernel: "unknown", Load: "unknown"}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(info); found != nil {
			m.CPU = strings.TrimSpace(string(found[1]))
		}
	}
	if version, err := exec.Command("redis-server", "--version").Output(); err == nil {
		if found := regexp.MustCompile(`v=(\S+)`).FindSubmatch(version); found != nil {
			m.Redis = string(found[1])
		}
	}
	if commit, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(commit))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(load), " ")
	}
	return m
}

// newerGo is what the module of other subjects needs.
const newerGo = "go1.26"

// errOlder says that there is no such Go, so that those subjects can't be measured.
var errOlder = errors.New("it needs " + newerGo + ", and this is " + runtime.Version())

// build makes the program of a module that needs a newer Go. remove removes it.
func build(ctx context.Context, module string) (program string, remove func(), err error) {
	if version.Compare(runtime.Version(), newerGo) < 0 {
		return "", func() {}, fmt.Errorf("%s: %w", module, errOlder)
	}
	dir, err := os.MkdirTemp("", "bench-build")
	if err != nil {
		return "", func() {}, err
	}
	program = filepath.Join(dir, "worker")
	command := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	command.Dir = module
	if text, err := command.CombinedOutput(); err != nil {
		return "", func() { _ = os.RemoveAll(dir) }, fmt.Errorf("%s doesn't build: %w: %s", module, err, strings.TrimSpace(string(text)))
	}
	return program, func() { _ = os.RemoveAll(dir) }, nil
}
