package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// skewEnv is by how many seconds a node's clock is ahead.
const skewEnv = "STRATA_NODES_SKEW"

// skewOf is how far a node's clock is ahead: one is, another is behind, and the third is right.
func skewOf(node int, skew time.Duration) time.Duration {
	return []time.Duration{skew, -skew, 0}[node%3]
}

var readsClock = regexp.MustCompile(`(?m)^\tsec, nsec, mono := \w+\(\)\n`)

const addsSkew = `package time

import "syscall"

var clockSkew = func() int64 {
	text, _ := syscall.Getenv("` + skewEnv + `")
	seconds, _ := atoi(text)
	return int64(seconds)
}()
`

// buildSkewed builds this program into a folder with a time.Now that adds the environment's skew, as the clocks of a
// machine are the same for all of its processes. now isn't changed by it.
func buildSkewed(dir string) (program string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("clocks are set wrong by the go command: %w", err)
	}
	at := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(at, "time.go"))
	if err != nil {
		return "", err
	}
	if n := len(readsClock.FindAll(source, -1)); n != 1 {
		return "", fmt.Errorf("package time of this Go reads the clock in %d places, and clocks can't be set wrong", n)
	}
	replaced := map[string]string{}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		return path
	}
	replaced[filepath.Join(at, "time.go")] = write("time.go", readsClock.ReplaceAll(source, []byte("$0\tsec += clockSkew\n")))
	replaced[filepath.Join(at, "skew.go")] = write("skew.go", []byte(addsSkew))
	list, _ := json.Marshal(map[string]any{"Replace": replaced})
	overlay := write("overlay.json", list)
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "skewed")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, "github.com/gf-strata/strata/bench/nodes")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
}

// checkSkew fails unless this process's clock is ahead by so much.
func checkSkew(skew time.Duration) error {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &t)
	if ahead := time.Since(time.Unix(t.Unix())); (ahead - skew).Abs() > time.Minute {
		return fmt.Errorf("the clock is ahead by %v, not %v", ahead, skew)
	}
	return nil
}
