package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the shop as it is built and run.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	base string
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "shop")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// start runs the shop on a free port and waits for the line that says where.
func start(t *testing.T, binary string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...)}
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
		if more, _ := io.ReadAll(lines); len(more) > 0 {
			t.Errorf("the shop isn't quiet: %s", more)
		}
	}()
	return p
}

func (p *program) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// ended waits for the exit code 0.
func (p *program) ended() {
	p.t.Helper()
	hung := time.AfterFunc(deadline, func() { _ = p.cmd.Process.Kill() })
	defer hung.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the shop ended with %v", err)
	}
}

func TestRestart(t *testing.T) {
	binary, dir := build(t), t.TempDir()
	p := start(t, binary, "-dir", dir)
	v := newVisitor(t, p.base)
	v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
	v.takeAll()
	p.terminate()
	p.ended()

	p = start(t, binary, "-dir", dir)
	knowing(t, p.base, v.cookie()).want("Ann", "map[bread:1 cheese:1 tea:1]")
	p.terminate()
	p.ended()
}

// A request that is running when the shop is told to stop is answered, and what it
// wrote is in the store.
func TestStopWaitsForRequests(t *testing.T) {
	binary, dir := build(t), t.TempDir()
	p := start(t, binary, "-dir", dir)
	addr := strings.TrimPrefix(p.base, "http://")
	conn, err := net.DialTimeout("tcp", addr, deadline)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	// The server says 100 once the handler waits for the body.
	body := `{"name":"Ann"}`
	if _, err = io.WriteString(conn, "POST /login HTTP/1.1\r\nHost: shop\r\nX-Shop: 1\r\n"+
		"Expect: 100-continue\r\nContent-Length: 14\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the shop said %q, %v", line, err)
	}
	if _, err = answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	p.terminate()
	for end := time.Now().Add(deadline); ; {
		more, err := net.DialTimeout("tcp", addr, deadline)
		if err != nil {
			break
		}
		_ = more.Close()
		if time.Now().After(end) {
			t.Fatal("the shop still takes visitors")
		}
	}
	if _, err = io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil || answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
		t.Fatalf("the running request was answered %v, %v", answer, err)
	}
	cookie := answer.Cookies()[0]
	if cookie.SameSite != http.SameSiteLaxMode || !cookie.HttpOnly {
		t.Error("the cookie is open to other sites or to scripts")
	}
	p.ended()

	p = start(t, binary, "-dir", dir)
	knowing(t, p.base, cookie).want("Ann", "map[]")
	p.terminate()
	p.ended()
}

func TestBadFlags(t *testing.T) {
	binary := build(t)
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
		{2, []string{"-addr", "127.0.0.1:port"}},
		{2, []string{"-addr", ""}},
		{2, []string{"-dir", "/dev/null/x"}},
		{2, []string{"surplus"}},
		{2, []string{"-unknown"}},
		{1, []string{"-dir", t.TempDir(), "-addr", taken.Addr().String()}},
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
