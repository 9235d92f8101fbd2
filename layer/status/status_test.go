package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/leaktest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/status"
	"github.com/gf-strata/strata/tiers/redisstore"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const secret = "secretsecretsecret"

// chain has a session that was written and read twice.
func chain(t *testing.T) *layer.Stack {
	t.Helper()
	ctx := context.Background()
	c := layer.Chain(gsession.NewStorageMemory(), layer.Coalesced(), layer.Local(layer.Exclusive()), layer.Traced())
	t.Cleanup(func() { _ = c.Close(ctx) })
	if err := c.SetSession(ctx, secret, gmap.NewStrAnyMapFrom(map[string]any{secret: secret}, true), time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m, err := c.GetSession(ctx, secret, time.Hour); err != nil || m == nil {
			t.Fatal(m, err)
		}
	}
	return c
}

func get(h http.Handler, path, accept string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	h.ServeHTTP(w, r)
	return w
}

func everybody(*http.Request) bool { return true }

func TestNothingIsServedWithoutAuthorisation(t *testing.T) {
	c := chain(t)
	for name, allow := range map[string]func(*http.Request) bool{
		"none": nil, "refuses": func(*http.Request) bool { return false },
	} {
		for _, path := range []string{"/s/", "/s/status.json"} {
			w := get(status.Handler(c, allow), path, "*/*")
			if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "Storage") {
				t.Errorf("%s, %s: %d %s", name, path, w.Code, w.Body)
			}
		}
	}
}

// A store that is full refuses writes, while invalidations arrive and nothing is pending.
func TestWritesThatFailAreShown(t *testing.T) {
	store := teststore.New()
	store.Refuse(func(string) error { return errors.New("full") })
	c := layer.Chain(store, layer.Coalesced(), layer.Local())
	defer func() { _ = c.Close(t.Context()) }()
	if err := c.SetSession(t.Context(), secret, gmap.NewStrAnyMapFrom(map[string]any{"k": "v"}, true), time.Hour); err == nil {
		t.Fatal("the store has taken it")
	}
	want := status.Fact{Name: "writes", Value: "1 failed at the store since the start; the log says why"}
	if facts := status.Of(c).Facts; !slices.Contains(facts, want) {
		t.Errorf("facts %v, want one more: %v", facts, want)
	}
}

func TestPageAndJSONShowTheLayersInTheirOrder(t *testing.T) {
	h := status.Handler(chain(t), everybody)
	page := get(h, "/s/", "text/html,application/json").Body.String()
	last := 0
	for _, part := range []string{"*trace.Storage", "*local.Storage", "*coalesce.Storage", "*gsession.StorageMemory"} {
		at := strings.Index(page, "<h3>"+part+"</h3>")
		if at <= last {
			t.Errorf("%s is at %d, after %d", part, at, last)
		}
		last = at
	}
	for _, part := range []string{"hit ratio", "strata.local.reads", "strata.coalesce.pending.changes"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s", part)
		}
	}

	w := get(h, "/s/status.json", "*/*")
	var state status.State
	if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil {
		t.Fatal(err)
	}
	hits := 0.0
	for _, l := range state.Layers {
		for _, r := range l.Readings {
			if r.Metric == "strata.local.reads" && r.Series == "hit" {
				hits = r.Value
			}
		}
	}
	if len(state.Layers) != 4 || hits < 1 || state.Version == "" {
		t.Errorf("the state is %s", w.Body)
	}
	if other := get(h, "/s/", "application/json"); other.Header().Get("Content-Type") != w.Header().Get("Content-Type") {
		t.Errorf("a client that accepts JSON alone gets %s", other.Header().Get("Content-Type"))
	}
}

// Law 10, and a page that loads nothing from elsewhere.
func TestNothingOfASessionIsShown(t *testing.T) {
	h := status.Handler(chain(t), everybody)
	for _, path := range []string{"/s/", "/s/status.json"} {
		w := get(h, path, "*/*")
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s shows an id, a key or a value", path)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be stored by a proxy", path)
		}
		if body := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", ""); strings.Contains(body, "://") {
			t.Errorf("%s refers to another host", path)
		}
	}
}

func TestAdviceIsShown(t *testing.T) {
	store, err := redisstore.Open("redis://127.0.0.1:1/?max_retries=-1") // a prefix is missing, whether it runs or not
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	c := layer.Chain(store)
	defer func() { _ = c.Close(context.Background()) }()
	if body := get(status.Handler(c, everybody), "/s/", "text/html").Body.String(); !strings.Contains(body, "<b>prefix</b>") {
		t.Errorf("the page lacks the advice: %s", body)
	}
}

func TestOnlyReads(t *testing.T) {
	w := httptest.NewRecorder()
	status.Handler(chain(t), everybody).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/s/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST returned %d", w.Code)
	}
}

func TestAChainWithoutCountsIsShownToo(t *testing.T) {
	c := layer.Chain(gsession.NewStorageMemory())
	defer func() { _ = c.Close(context.Background()) }()
	if w := get(status.Handler(c, everybody), "/s/", "text/html"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "No layer has counted anything yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Delays are drawn from the moment that the handler is made; a chain that nobody looks at keeps none.
func TestDelaysAreDrawn(t *testing.T) {
	c, ctx := chain(t), context.Background()
	if before := c.Delays(); len(before) != 0 {
		t.Errorf("a chain that nobody looks at has kept %v", before)
	}
	h := status.Handler(c, everybody)
	if err := c.UpdateTTL(ctx, secret, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetSession(ctx, "another", time.Hour); err != nil {
		t.Fatal(err)
	}
	page := get(h, "/s/", "text/html").Body.String()
	if !strings.Contains(page, "<dt>store: GetSession</dt>") || !strings.Contains(page, "1; half within ") || strings.Count(page, "<rect ") == 0 {
		t.Errorf("the page lacks the store's delay: %s", page)
	}
	var state status.State
	if err := json.Unmarshal(get(h, "/s/status.json", "*/*").Body.Bytes(), &state); err != nil || len(state.Delays) == 0 {
		t.Fatal(state.Delays, err)
	}
	for _, d := range state.Delays {
		if len(d.Counts) != len(d.Bounds)+1 {
			t.Errorf("%s has %d counts for %d bounds", d.Metric, len(d.Counts), len(d.Bounds))
		}
	}
}
