package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gf-strata/strata/internal/program"
)

// The page leads to all that can be looked at, and what it leads to is there.
func TestIndexLinks(t *testing.T) {
	t.Parallel()
	p := program.Start(t)
	v := newVisitor(t, p.Base)
	v.visit()
	code, body := v.send(http.MethodGet, "/", "")
	if code != http.StatusOK {
		t.Fatalf("/ returned %d", code)
	}
	links := map[string]string{"/metrics": "strata_local_reads_total", "/status/": "hit ratio", "/status/status.json": `"strata.local.reads"`}
	for _, found := range regexp.MustCompile(`<a href="([^"]+)"`).FindAllStringSubmatch(body, -1) {
		code, linked := v.send(http.MethodGet, found[1], "")
		if code != http.StatusOK || links[found[1]] == "" || !strings.Contains(linked, links[found[1]]) {
			t.Errorf("%s returned %d without %q", found[1], code, links[found[1]])
		}
		v.private(found[1], linked)
		delete(links, found[1])
	}
	for link := range links {
		t.Errorf("the page has no link to %s", link)
	}
	end(p)
}

func TestStatusIsForThisMachine(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "10.0.0.7:80": false, "@": false} {
		r := httptest.NewRequest(http.MethodGet, "/status/", nil)
		r.RemoteAddr = from
		if got := local(r); got != want {
			t.Errorf("from %s: %v", from, got)
		}
		r.Header.Set("X-Forwarded-For", "10.0.0.7")
		if local(r) {
			t.Errorf("from %s through a proxy it is local", from)
		}
	}
}
