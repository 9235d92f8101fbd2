package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	deadline = time.Minute

	name = "Ann-5d20e1" // what nothing may show, besides ids and keys
)

// visitor is a browser at a shop. ids are those of the sessions that it has had.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
	ids  []string
}

func newVisitor(t *testing.T, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// A transport of its own, so that no connection outlives the test.
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, base: base, http: &http.Client{Jar: jar, Transport: transport, Timeout: deadline}}
}

// send returns the status and the body.
func (v *visitor) send(method, path, body string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequest(method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, cookie := range answer.Cookies() {
		if cookie.SameSite != http.SameSiteLaxMode || !cookie.HttpOnly {
			v.t.Error("the cookie is open to other sites or to scripts")
		}
		if cookie.Value != "" { // as after a log-out
			v.ids = append(v.ids, cookie.Value)
		}
	}
	return answer.StatusCode, string(text)
}

func (v *visitor) post(status int, path, body string) {
	v.t.Helper()
	if got, _ := v.send(http.MethodPost, path, body); got != status {
		v.t.Errorf("POST %s returned %d, want %d", path, got, status)
	}
}

func (v *visitor) wantCart(want string) {
	v.t.Helper()
	if status, got := v.send(http.MethodGet, "/cart", ""); status != http.StatusOK || got != want {
		v.t.Errorf("the cart is %d %s, want %s", status, got, want)
	}
}

// visit is a whole one, with each kind of request and some that the shop refuses.
func (v *visitor) visit() {
	v.t.Helper()
	v.wantCart(`{"cart":{},"user":null}`)
	v.post(http.StatusOK, "/cart/tea", "")
	before := v.cookie()
	v.post(http.StatusOK, "/login", `{"name":"`+name+`"}`)
	if after := v.cookie(); before.Value == "" || after.Value == before.Value || len(v.ids) != 2 {
		v.t.Errorf("%d ids came, want one with the first item and another with the log-in", len(v.ids))
	}
	v.post(http.StatusOK, "/cart/tea", "")
	v.post(http.StatusOK, "/cart/bread", "")
	full := `{"cart":{"bread":1,"tea":2},"user":"` + name + `"}`
	// The cache takes a session in a moment after it was loaded: these are misses, then hits.
	for range 20 {
		v.wantCart(full)
	}
	planted := knowing(v.t, v.base, before) // who had planted the id gains nothing
	planted.wantCart(`{"cart":{},"user":null}`)
	v.post(http.StatusNotFound, "/cart/unknown", "")
	v.post(http.StatusBadRequest, "/login", `{"name":""}`)
	v.wantCart(full)
	v.post(http.StatusOK, "/logout", "")
	v.wantCart(`{"cart":{},"user":null}`)
}

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

// knowing is another browser that has the cookie.
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

// private fails if a text shows anything of the visitor's sessions.
func (v *visitor) private(what, text string) {
	v.t.Helper()
	if len(v.ids) == 0 {
		v.t.Fatal("the visitor had no session")
	}
	for _, secret := range append([]string{name, cartKeys + "tea", "observed:"}, v.ids...) {
		if at := strings.Index(text, secret); at >= 0 {
			v.t.Errorf("%s show %q: …%q…", what, secret, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}
