package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the shop as it is built and run; TestMain sets it.
var binary string

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "observed")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "observed")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// program is a running shop. said may be read after a receive from read.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	base string
	read chan struct{} // closed when all that it says has been read
	said []byte
}

// start runs the shop on a free port and waits for the line that says where.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{t: t, read: make(chan struct{}), cmd: exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...)}
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
		t.Fatalf("the shop said %q: %v", line, err)
	}
	_, p.base, _ = strings.Cut(strings.TrimSpace(line), " on ")
	go func() {
		defer close(p.read)
		p.said, _ = io.ReadAll(lines)
	}()
	return p
}

// end stops the shop, waits for the exit code 0, and returns what was printed.
func (p *program) end() string {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	hung := time.AfterFunc(deadline, func() { _ = p.cmd.Process.Kill() })
	defer hung.Stop()
	<-p.read
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the shop ended with %v", err)
	}
	return string(p.said)
}

func TestQuietWithoutTraces(t *testing.T) {
	t.Parallel()
	p := start(t)
	newVisitor(t, p.base).visit()
	if said := p.end(); said != "" {
		t.Errorf("printed %s", said)
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		code int
		args []string
	}{
		{2, []string{"-redis", "no://user:hush@host"}},
		{2, []string{"-traces", "no://user:hush@host"}},
		{2, []string{"-traces", "127.0.0.1:4318"}},
		{2, []string{"-traces", "http://"}},
		{2, []string{"-addr", "127.0.0.1:port"}},
		{2, []string{"-addr", ""}},
		{2, []string{"surplus"}},
		{2, []string{"-unknown"}},
		{1, []string{"-addr", taken.Addr().String()}},
		{0, []string{"-help"}},
	} {
		var stderr bytes.Buffer
		cmd := exec.Command(binary, c.args...)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		hung.Stop()
		said := stderr.String()
		if got := cmd.ProcessState.ExitCode(); got != c.code || said == "" {
			t.Errorf("%v: exit code %d, want %d; %q", c.args, got, c.code, said)
		}
		if strings.Contains(said, "hush") || strings.Contains(said, "goroutine") {
			t.Errorf("%v: %q", c.args, said)
		}
	}
}
