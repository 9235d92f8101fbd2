package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const deadline = time.Minute

// visitor is a browser at a shop.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
	came time.Time
}

func newVisitor(t *testing.T, base string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, base: base, came: time.Now(), http: &http.Client{Jar: jar, Timeout: deadline}}
}

// send returns the status, or 0 if there is none. Any goroutine may call it.
func (v *visitor) send(method, path, body string, header http.Header) int {
	r, err := http.NewRequest(method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Error(err)
		return 0
	}
	r.Header = header
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Error(err)
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// plainly is the same browser at the shop without layers.
func (v *visitor) plainly() *visitor {
	other := *v
	other.base += plainly
	return &other
}

func (v *visitor) post(path, body string) int {
	return v.send(http.MethodPost, path, body, http.Header{"X-Shop": {"1"}})
}

func (v *visitor) wantPost(status int, path, body string) {
	v.t.Helper()
	if got := v.post(path, body); got != status {
		v.t.Errorf("POST %s returned %d, want %d", path, got, status)
	}
}

func (v *visitor) wantGet(status int, path string) {
	v.t.Helper()
	if got := v.send(http.MethodGet, path, "", nil); got != status {
		v.t.Errorf("GET %s returned %d, want %d", path, got, status)
	}
}

// takeAll adds one of each item, all at once.
func (v *visitor) takeAll() {
	v.t.Helper()
	var group sync.WaitGroup
	for item := range goods {
		group.Go(func() { v.wantPost(http.StatusOK, "/cart/"+item, "") })
	}
	group.Wait()
}

type state struct {
	User   any
	Cart   map[string]json.Number
	Counts Counts
}

func (v *visitor) state() (s state) {
	v.t.Helper()
	if err := json.Unmarshal([]byte(v.read("/state")), &s); err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (v *visitor) read(path string) string {
	v.t.Helper()
	return v.ask(http.MethodGet, path, nil)
}

// ask returns the body of an answer.
func (v *visitor) ask(method, path string, header http.Header) string {
	v.t.Helper()
	r, err := http.NewRequest(method, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(body)
}

// try runs a trial of the page's.
func (v *visitor) try(name string) (both compared) {
	v.t.Helper()
	text := v.ask(http.MethodPost, "/try/"+name, http.Header{ownHeader: {"1"}})
	if err := json.Unmarshal([]byte(text), &both); err != nil {
		v.t.Fatalf("%s got %q", name, text)
	}
	return both
}

// late fails the test where a visitor has waited for something for too long.
func (v *visitor) late() {
	v.t.Helper()
	if time.Since(v.came) > deadline {
		v.t.Fatal("what the visitor waits for doesn't come")
	}
}

func (v *visitor) want(user any, cart string) {
	v.t.Helper()
	if s := v.state(); s.User != user || fmt.Sprint(s.Cart) != cart {
		v.t.Errorf("the visitor is %v with %v, want %v with %v", s.User, s.Cart, user, cart)
	}
}

// cookie is what the browser keeps of the session.
func (v *visitor) cookie() *http.Cookie {
	v.t.Helper()
	at, err := url.Parse(v.base)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, cookie := range v.http.Jar.Cookies(at) {
		if cookie.Name == sessionName {
			return cookie
		}
	}
	return &http.Cookie{Name: sessionName}
}

// knowing is another browser that has the cookie, maybe at another shop.
func knowing(t *testing.T, base string, cookie *http.Cookie) *visitor {
	t.Helper()
	v := newVisitor(t, base)
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	v.http.Jar.SetCookies(at, []*http.Cookie{cookie})
	return v
}
