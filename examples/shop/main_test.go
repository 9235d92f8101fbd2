package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// ended waits for the end of the shop, which says nothing.
func ended(t *testing.T, p *program.Program) {
	t.Helper()
	if said := p.Ended(); said != "" {
		t.Errorf("the shop isn't quiet: %s", said)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	p := program.Start(t, "-dir", dir)
	v := newVisitor(t, p.Base)
	v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
	v.takeAll()
	p.Terminate()
	ended(t, p)

	p = program.Start(t, "-dir", dir)
	knowing(t, p.Base, v.cookie()).want("Ann", "map[bread:1 cheese:1 tea:1]")
	p.Terminate()
	ended(t, p)
}

// A request that is running when the shop is to stop gets its response, and what it
// wrote is in the store.
func TestStopWaitsForRequests(t *testing.T) {
	dir := t.TempDir()
	p := program.Start(t, "-dir", dir)
	addr := strings.TrimPrefix(p.Base, "http://")
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

	p.Terminate()
	poll.Until(t, "the shop takes no more visitors", func() bool {
		more, err := net.DialTimeout("tcp", addr, deadline)
		if err != nil {
			return true
		}
		_ = more.Close()
		return false
	})
	if _, err = io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil || answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
		t.Fatalf("the running request got %v, %v", answer, err)
	}
	cookie := answer.Cookies()[0]
	if cookie.SameSite != http.SameSiteLaxMode || !cookie.HttpOnly {
		t.Error("the cookie is open to other sites or to scripts")
	}
	ended(t, p)

	p = program.Start(t, "-dir", dir)
	knowing(t, p.Base, cookie).want("Ann", "map[]")
	p.Terminate()
	ended(t, p)
}

// Two nodes on the Redis that the shop starts follow each other, and Redis ends with the shop.
func TestNodes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := program.Start(t, "-nodes", "2")
	v := newVisitor(t, p.Base)
	page := v.read("/")
	bases := regexp.MustCompile(`<iframe src="(http://[^"/]+)/`).FindAllStringSubmatch(page, -1)
	if len(bases) != 2 || bases[0][1] != p.Base {
		t.Fatalf("the page has the nodes %v", bases)
	}
	v.wantPost(http.StatusOK, "/login", `{"name":"Ann"}`)
	other := knowing(t, bases[1][1], v.cookie())
	other.want("Ann", "map[]")
	for other.state().Counts.Hits == 0 { // it has the session in memory
		other.late()
	}
	v.wantPost(http.StatusOK, "/logout", "")
	for other.state().User != nil {
		other.late()
	}
	dirs, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "strata-shop*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the shop's Redis is in %v, %v", dirs, err)
	}
	p.Terminate()
	ended(t, p)
	if _, err := os.Stat(dirs[0]); !os.IsNotExist(err) {
		t.Errorf("what Redis held is left behind: %v", err)
	}
}

func TestAnOfferIsForAVisitorWhoIsThere(t *testing.T) {
	for line, want := range map[string]bool{"\n": true, "y\n": true, "Yes\n": true, "n\n": false, "no\n": false, "": false} {
		if got := agreed(strings.NewReader(line)); got != want {
			t.Errorf("%q is %v", line, got)
		}
	}
	for _, name := range []string{"main.go", os.DevNull} {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if offered(file) {
			t.Errorf("%s is asked", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:8000": "[127.0.0.1:8000 127.0.0.1:8001]", ":80": "[:80 :81]", "127.0.0.1:0": "[127.0.0.1:0 127.0.0.1:0]"} {
		if got, err := addresses(addr, 2); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", addr, got, err)
		}
	}
}

func TestBadFlags(t *testing.T) {
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
		{2, []string{"-nodes", "0"}},
		{2, []string{"-nodes", "2", "-redis", "no://user:hush@host"}},
		{2, []string{"-unknown"}},
		{1, []string{"-dir", t.TempDir(), "-addr", taken.Addr().String()}},
		{0, []string{"-help"}},
	} {
		program.Refuses(t, c.code, "hush", c.args...)
	}
}
