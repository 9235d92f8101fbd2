package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/program"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/telemetry"
)

// everyStore runs a test with the flags of each store that the shop can have.
func everyStore(t *testing.T, test func(t *testing.T, args ...string)) {
	t.Run("memory", func(t *testing.T) { test(t) })
	t.Run("redis", func(t *testing.T) { test(t, "-redis", redistest.Start(t).URL()) })
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	everyStore(t, func(t *testing.T, args ...string) {
		p := program.Start(t, args...)
		v := newVisitor(t, p.Base)
		v.visit()
		status, text := v.send(http.MethodGet, "/metrics", "")
		if status != http.StatusOK {
			t.Fatalf("/metrics returned %d: %s", status, text)
		}
		for _, needed := range []string{
			`strata_local_reads_total\{[^}]*strata_outcome="hit"[^}]*} [1-9]`,
			`strata_local_reads_total\{[^}]*otel_scope_version="` + regexp.QuoteMeta(telemetry.Version) + `"`,
			`strata_local_reads_total\{[^}]*strata_outcome="miss"[^}]*} [1-9]`,
			`strata_coalesce_commits_total\{[^}]*strata_outcome="ok"[^}]*} [1-9]`,
			`# TYPE strata_store_operation_duration_seconds histogram`,
			`strata_local_memory_limit_bytes\{[^}]*} 6\.7`,
			`strata_coalesce_pending_age_seconds\{[^}]*} 0`,
			`strata_store_operation_duration_seconds_bucket\{[^}]*strata_operation="[A-Z]\w+"[^}]*le="[0-9.]+"[^}]*} [1-9]`,
			`http_server_request_total\{[^}]*http_route="/cart/{item}"`, // GoFrame's own
		} {
			if !regexp.MustCompile(`(?m)^` + needed).MatchString(text) {
				t.Errorf("nothing in %d bytes matches %s", len(text), needed)
			}
		}
		if len(args) > 0 && !strings.Contains(text, "\nstrata_watch_connected{") {
			t.Error("nothing says whether Redis notifies of its changes")
		}
		if odd := regexp.MustCompile(`(?m)^strata_\w*_ratio`).FindString(text); odd != "" {
			t.Errorf("%s is no ratio", odd)
		}
		v.private("the metrics", text)
		end(p)
	})
}

// span is what stdouttrace prints of one.
type span struct {
	Name               string
	SpanKind           trace.SpanKind
	SpanContext        struct{ TraceID, SpanID string }
	Parent             struct{ TraceID, SpanID string }
	StartTime, EndTime time.Time
	Status             struct{ Code string }
}

func spansOf(t *testing.T, printed string) (all []span) {
	t.Helper()
	for line := range strings.Lines(printed) {
		var s span
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, s)
	}
	return all
}

func TestSpansNestUnderTheServers(t *testing.T) {
	t.Parallel()
	everyStore(t, func(t *testing.T, args ...string) {
		p := program.Start(t, append(args, "-traces", "print")...)
		v := newVisitor(t, p.Base)
		v.visit()
		printed := end(p)
		v.private("the spans", printed)

		requests, children := map[string]span{}, map[string]map[string]bool{}
		spans := spansOf(t, printed)
		for _, s := range spans {
			if s.SpanKind == trace.SpanKindServer {
				requests[s.SpanContext.SpanID] = s
			}
		}
		for _, s := range spans {
			if !strings.HasPrefix(s.Name, "session ") {
				continue
			}
			request, ok := requests[s.Parent.SpanID]
			switch {
			case !ok || request.SpanContext.TraceID != s.SpanContext.TraceID:
				t.Errorf("%s belongs to no request", s.Name)
			case s.StartTime.Before(request.StartTime) || s.EndTime.After(request.EndTime):
				t.Errorf("%s isn't within its request to %s", s.Name, request.Name)
			case s.Status.Code == "Error":
				t.Errorf("%s of %s failed", s.Name, request.Name)
			}
			if children[request.Name] == nil {
				children[request.Name] = map[string]bool{}
			}
			children[request.Name][s.Name] = true
		}
		for route, needed := range map[string][]string{
			"/cart":        {"session Load", "session UpdateTTL"},
			"/cart/{item}": {"session Load", "session Commit"},
			"/login":       {"session Load", "session Commit", "session RemoveAll"},
			"/logout":      {"session Load", "session RemoveAll"},
		} {
			for _, operation := range needed {
				if !children[route][operation] {
					t.Errorf("no %s below %s, only %v", operation, route, children[route])
				}
			}
		}
	})
}

// collector takes traces over HTTP. mu guards got.
type collector struct {
	mu  sync.Mutex
	got strings.Builder
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
		http.NotFound(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.Copy(&c.got, r.Body)
}

// all is what has come. Protobuf keeps texts as they are.
func (c *collector) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

func TestTracesReachACollector(t *testing.T) {
	t.Parallel()
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	p := program.Start(t, "-traces", server.URL)
	v := newVisitor(t, p.Base)
	v.visit()
	if said := end(p); said != "" {
		t.Errorf("printed %s", said)
	}
	got := c.all()
	for _, needed := range []string{"strata-observed", "session Load", "session Commit", "/logout"} {
		if !strings.Contains(got, needed) {
			t.Errorf("the collector got nothing of %q, only %d bytes", needed, len(got))
		}
	}
	v.private("the spans", got)
}

// A store that is away is an answer, shows in the traces without a word of the session, and
// the shop goes on when it is back.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := program.Start(t, "-redis", redis.URL()+"?max_retries=-1", "-traces", "print")
	v := newVisitor(t, p.Base)
	v.post(http.StatusOK, "/cart/tea", "")
	redis.Stop()
	v.post(http.StatusServiceUnavailable, "/cart/tea", "")
	redis.Restart(t)
	poll.Until(t, "the shop finds its store again", func() bool {
		status, _ := v.send(http.MethodPost, "/cart/tea", "")
		return status == http.StatusOK
	})
	printed := end(p)
	v.private("the spans", printed)
	if !strings.Contains(printed, `"error.type"`) {
		t.Error("no span shows the failure")
	}
}
