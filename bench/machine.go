package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/gf-strata/strata/bench/report"
)

// machine is where the bench runs.
func machine() report.Machine {
	m := report.Machine{CPU: "unknown", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Redis: "unknown"}
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
	return m
}

// build makes the program of a module that needs a newer Go. remove removes it.
func build(ctx context.Context, module string) (program string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "bench-build")
	if err != nil {
		return "", func() {}, err
	}
	program = filepath.Join(dir, "worker")
	command := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	command.Dir = module
	if text, err := command.CombinedOutput(); err != nil {
		return "", func() { _ = os.RemoveAll(dir) }, fmt.Errorf("%s doesn't build, it needs Go 1.26: %w: %s", module, err, strings.TrimSpace(string(text)))
	}
	return program, func() { _ = os.RemoveAll(dir) }, nil
}
