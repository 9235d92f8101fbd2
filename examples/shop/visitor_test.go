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

const deadline = 20 * time.Second

// visitor is a browser at a shop.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

func newVisitor(t *testing.T, base string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, base: base, http: &http.Client{Jar: jar, Timeout: deadline}}
}

// send answers the status, 0 where there is none. Any goroutine may call it.
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

func (v *visitor) post(path, body string) int {
	return v.send(http.MethodPost, path, body, http.Header{"X-Shop": {"1"}})
}

func (v *visitor) wantPost(status int, path, body string) {
	v.t.Helper()
	if got := v.post(path, body); got != status {
		v.t.Errorf("POST %s answered %d, want %d", path, got, status)
	}
}

func (v *visitor) wantGet(status int, path string) {
	v.t.Helper()
	if got := v.send(http.MethodGet, path, "", nil); got != status {
		v.t.Errorf("GET %s answered %d, want %d", path, got, status)
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
	Layers Counts
}

func (v *visitor) state() (s state) {
	v.t.Helper()
	answer, err := v.http.Get(v.base + "/state")
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		v.t.Fatal(err)
	}
	return s
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
