package architecture

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
)

const (
	mostReadmeWords  = 900
	mostProgramLines = 30
)

// block is the first code block of a language in a page.
func block(t *testing.T, page, language, begins string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + language + "\n(" + regexp.QuoteMeta(begins) + ".*?)```").FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the README has no block of %s that begins with %q", language, begins)
	}
	return found[1]
}

// The README fits on a screen, and its program does what its curl lines say.
func TestReadmeProgram(t *testing.T) {
	t.Parallel()
	page := read(t, "../../README.md")
	if words := len(strings.Fields(page)); words > mostReadmeWords {
		t.Errorf("the README has %d words, more than %d", words, mostReadmeWords)
	}
	program := block(t, page, "go", "package main")
	if lines := strings.Count(program, "\n"); lines > mostProgramLines {
		t.Errorf("the program has %d lines, more than %d", lines, mostProgramLines)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	here := strings.NewReplacer(`":8000"`, `"`+addr+`"`, "127.0.0.1:8000", addr, "127.0.0.1:6379", redistest.Start(t).Addr())

	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("config.yaml", here.Replace(block(t, page, "yaml", "server:")))
	// The program is built as if it stood in this module, whose go.mod has what it imports.
	place, err := filepath.Abs("readme/main.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {place: write("main.go", program)}})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", binary, "./readme")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program isn't built: %v\n%s", err, out)
	}
	var said bytes.Buffer
	run := exec.Command(binary)
	run.Dir, run.Stdout, run.Stderr = dir, &said, &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	t.Cleanup(func() { _ = run.Process.Kill() })
	if !poll.Try(func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}) {
		t.Fatalf("the program doesn't serve:\n%s", said.String())
	}

	lines := strings.Split(strings.TrimSpace(block(t, page, "sh", "$ curl")), "\n")
	for n := 0; n+1 < len(lines); n += 2 {
		command, want := strings.TrimPrefix(lines[n], "$ "), lines[n+1]
		curl := exec.Command("sh", "-c", here.Replace(command))
		curl.Dir = dir
		if got, err := curl.Output(); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; the README says %q", command, got, err, want)
		}
	}

	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the program doesn't end")
	}
}
