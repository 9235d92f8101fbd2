// Package program builds an example and runs it as a user does, for its tests.
package program

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadline is for what a busy machine does in seconds.
const deadline = time.Minute

// binary is the program of the tests; Main sets it.
var binary string

// Main is a package's TestMain, whose program the tests run.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Program is one that runs. said may be read after a receive from read.
type Program struct {
	Base string // the URL that it serves

	t    *testing.T
	cmd  *exec.Cmd
	read chan struct{} // closed when all that it says has been read
	said []byte
}

// Start runs the program on a free port and waits for its first line, which says where.
func Start(t *testing.T, args ...string) *Program {
	t.Helper()
	p := &Program{t: t, read: make(chan struct{}), cmd: exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the program said %q: %v", line, err)
	}
	_, p.Base, _ = strings.Cut(strings.TrimSpace(line), " on ")
	go func() {
		defer close(p.read)
		p.said, _ = io.ReadAll(lines)
	}()
	return p
}

// Terminate has the program end.
func (p *Program) Terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// Ended waits for the exit code 0, and returns what was printed after the first line.
func (p *Program) Ended() string {
	p.t.Helper()
	hung := time.AfterFunc(deadline, func() { _ = p.cmd.Process.Kill() })
	defer hung.Stop()
	<-p.read
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the program ended with %v", err)
	}
	return string(p.said)
}

// Refuses runs the program, expects the exit code, and that it says why: without a stack, and without what is secret.
func Refuses(t *testing.T, code int, secret string, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	hung.Stop()
	said := stderr.String()
	if got := cmd.ProcessState.ExitCode(); got != code || said == "" {
		t.Errorf("%v: exit code %d, want %d; %q", args, got, code, said)
	}
	if strings.Contains(said, secret) || strings.Contains(said, "goroutine") {
		t.Errorf("%v: %q", args, said)
	}
}
