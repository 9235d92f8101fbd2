package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// program is the shop as it is built and run.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	base string
}

func build(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "shop")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// start runs the shop on a free port and waits for the line that says where.
func start(t *testing.T, binary string, args ...string) *program {
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
	var line []byte
	for one := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, one...) {
		if _, err := out.Read(one); err != nil {
			t.Fatalf("the shop said %q: %v", line, err)
		}
	}
	_, p.base, _ = strings.Cut(strings.TrimSpace(string(line)), " on ")
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return p
}

// stop ends the shop as an operator does.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the shop ended with %v", err)
	}
}

// visitor is a browser.
type visitor struct {
	t    *testing.T
	http *http.Client
}

func newVisitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, http: &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

func (v *visitor) post(p *program, path, body string) int {
	v.t.Helper()
	r, err := http.NewRequest(http.MethodPost, p.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("X-Shop", "1")
	r.Header.Set("Content-Type", "application/json")
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Error(err)
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

type state struct {
	User   any
	Cart   map[string]json.Number
	Layers Counts
}

func (v *visitor) state(p *program) (s state) {
	v.t.Helper()
	answer, err := v.http.Get(p.base + "/state")
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (v *visitor) id(p *program) string {
	at, err := url.Parse(p.base)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, cookie := range v.http.Jar.Cookies(at) {
		if cookie.Name == "shop" {
			return cookie.Value
		}
	}
	return ""
}

func (v *visitor) want(p *program, user any, cart string) {
	v.t.Helper()
	if s := v.state(p); s.User != user || fmt.Sprint(s.Cart) != cart {
		v.t.Errorf("the visitor is %v with %v, want %v with %v", s.User, s.Cart, user, cart)
	}
}

func TestShop(t *testing.T) {
	binary := build(t)
	server := redistest.Start(t)
	for name, args := range map[string][]string{
		"files": {"-dir", t.TempDir()},
		"redis": {"-redis", server.URL()},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, binary, args...)
			v := newVisitor(t)
			v.want(p, nil, "map[]")
			if status := v.post(p, "/cart/tea", ""); status != http.StatusOK {
				t.Fatalf("adding to the cart answered %d", status)
			}
			before := v.id(p)
			if status := v.post(p, "/login", `{"name":"Ann"}`); status != http.StatusOK {
				t.Fatalf("logging in answered %d", status)
			}
			if after := v.id(p); before == "" || after == before {
				t.Error("the session's id didn't change at log-in")
			}
			v.want(p, "Ann", "map[tea:1]")

			for round := 1; round <= 10; round++ {
				var group sync.WaitGroup
				for item := range goods {
					group.Go(func() {
						if status := v.post(p, "/cart/"+item, ""); status != http.StatusOK {
							t.Errorf("adding to the cart answered %d", status)
						}
					})
				}
				group.Wait()
				v.want(p, "Ann", fmt.Sprintf("map[bread:%d cheese:%d tea:%d]", round, round, round+1))
			}
			if s := v.state(p); s.Layers.Writes < 10 || s.Layers.Loads < 1 {
				t.Errorf("the page shows %+v after 30 changes", s.Layers)
			}
			hits := v.state(p).Layers.Hits
			if again := v.state(p).Layers.Hits; again <= hits {
				t.Errorf("a second look took no hit: %d after %d", again, hits)
			}

			p.stop() // and on again: all writes are in the store
			p = start(t, binary, args...)
			old := v.id(p)
			at, _ := url.Parse(p.base)
			v.http.Jar.SetCookies(at, []*http.Cookie{{Name: "shop", Value: old}})
			v.want(p, "Ann", "map[bread:10 cheese:10 tea:11]")

			if status := v.post(p, "/logout", ""); status != http.StatusOK {
				t.Fatalf("logging out answered %d", status)
			}
			v.want(p, nil, "map[]")
			if status := newVisitor(t).post(p, "/cart/unknown", ""); status != http.StatusNotFound {
				t.Errorf("an unknown item answered %d", status)
			}
			answer, err := http.Post(p.base+"/logout", "text/plain", nil)
			if err != nil || answer.StatusCode != http.StatusForbidden {
				t.Errorf("a request of another site answered %v, %v", answer, err)
			}
			p.stop()
		})
	}
}

// A request of another node that had loaded the session before the visitor logged out
// can't undo that.
func TestALogOutHolds(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	p := start(t, build(t), "-redis", server.URL())
	v := newVisitor(t)
	v.post(p, "/login", `{"name":"Ann"}`)
	slow := gsession.New(sessionLife, redisstore.New(server.Client(), redisstore.Prefix("shop:"))).New(ctx, v.id(p))
	slow.MustSet(cartKeys+"tea", 1)
	v.post(p, "/logout", "")
	if err := slow.Close(); !errors.Is(err, layer.ErrRevoked) {
		t.Errorf("the slow request's close answered %v", err)
	}
	v.want(p, nil, "map[]")
	p.stop()
}

// A new visitor's first requests come all at once, after the page.
func TestANewVisitorTakesAllThree(t *testing.T) {
	p := start(t, build(t), "-dir", t.TempDir())
	v := newVisitor(t)
	answer, err := v.http.Get(p.base)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	var group sync.WaitGroup
	for item := range goods {
		group.Go(func() { v.post(p, "/cart/"+item, "") })
	}
	group.Wait()
	v.want(p, nil, "map[bread:1 cheese:1 tea:1]")
	p.stop()
}

func TestBadFlags(t *testing.T) {
	binary := build(t)
	for _, args := range [][]string{{"-redis", "not a url"}, {"-addr", "nowhere:port"}, {"surplus"}, {"-dir", "/dev/null/x"}} {
		out, err := exec.Command(binary, args...).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "shop: ") {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
}
