// Package status shows a chain while it runs, as a page and as JSON.
//
//	mux.Handle("/debug/sessions/", status.Handler(chain, func(r *http.Request) bool {
//		return isAdmin(r)
//	}))
//
// In ghttp: server.BindHandler("/debug/sessions/*", ghttp.WrapH(status.Handler(chain, allow))).
//
// It shows the layers in their order and what each of them has counted: hits and misses, memory
// beside its bound, whether invalidations arrive, what is pending and for how long, commits,
// give-ups, and how long the store and invalidations took since the handler was made. No session id, key or value is in it
// (law 10), and nothing is loaded from elsewhere.
// The page follows the chain with a script of its own; without scripts it is a table.
package status

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

//go:embed page.html
var page string

var parsed = template.Must(template.New("status").Funcs(template.FuncMap{"plot": plotted, "value": value}).Parse(page))

// Handler serves the chain's state to requests that allow returns true for, and 403 to
// all others. Without allow it serves nothing: what a chain does is not for visitors.
//
// A request for a path that ends in ".json", or one that accepts JSON and no HTML, gets JSON.
func Handler(chain *layer.Stack, allow func(*http.Request) bool) http.Handler {
	began := time.Now()
	chain.Delays() // they are kept from now on
	advice := sync.OnceValue(func() []tiers.Advice { return layer.Advice(chain) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if allow == nil || !allow(r) {
			http.Error(w, "this page is for administrators; see status.Handler", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		state := Of(chain)
		state.Advice = advice()
		state.Up = time.Since(began).Round(time.Second).String()
		if strings.HasSuffix(r.URL.Path, ".json") || strings.Contains(r.Header.Get("Accept"), "json") && !strings.Contains(r.Header.Get("Accept"), "html") {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_ = json.NewEncoder(w).Encode(state) // the client may have left
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; frame-ancestors 'none'")
		_ = parsed.Execute(w, state)
	})
}

// State is a chain at one moment.
type State struct {
	Version string    `json:"version"` // Strata's
	When    time.Time `json:"when"`
	Up      string    `json:"up,omitempty"` // since the handler was made; Of leaves it and Advice empty
	Facts   []Fact    `json:"facts"`
	Layers  []Layer   `json:"layers"` // outermost first, the store last

	// Delays are since the chain's first Handler or Of.
	Delays []telemetry.Delay `json:"delays,omitempty"`

	Advice []tiers.Advice `json:"advice,omitempty"` // layer.Advice, as it was at the first request
}

// Fact is one of the figures at the top of the page.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Bad   bool   `json:"bad,omitempty"`
}

// Layer is a layer of the chain, named by the Go type of its storage.
type Layer struct {
	Type     string              `json:"type"`
	Readings []telemetry.Reading `json:"readings,omitempty"`
}

// Of returns the state of a chain.
func Of(chain *layer.Stack) State {
	s := State{Version: telemetry.Version, When: time.Now().UTC().Truncate(time.Millisecond)}
	s.Delays = chain.Delays()
	all := readings{}
	for _, storage := range chain.Layers() {
		l := Layer{Type: fmt.Sprintf("%T", storage)}
		if reporting, ok := storage.(telemetry.Reporting); ok {
			l.Readings = telemetry.Readings(reporting)
		}
		for _, r := range l.Readings {
			all.add(r)
		}
		s.Layers = append(s.Layers, l)
	}
	s.Facts = all.facts()
	return s
}

// readings adds up the readings of all layers, by metric and series.
type readings map[[2]string]float64

func (all readings) add(r telemetry.Reading) { all[[2]string{r.Metric, r.Series}] += r.Value }

func (all readings) of(metric, series string) float64 { return all[[2]string{metric, series}] }

func (all readings) has(metric string) bool { _, ok := all[[2]string{metric, ""}]; return ok }

func (all readings) facts() (facts []Fact) {
	add := func(bad bool, name, format string, args ...any) {
		facts = append(facts, Fact{Name: name, Value: fmt.Sprintf(format, args...), Bad: bad})
	}
	hits := all.of("strata.local.reads", "hit") + all.of("strata.local.reads", "negative")
	if reads := hits + all.of("strata.local.reads", "miss") + all.of("strata.local.reads", "stale"); reads > 0 {
		add(false, "hit ratio", "%.1f %% of %s reads", 100*hits/reads, count(reads))
	}
	if limit := all.of("strata.local.memory.limit", ""); limit > 0 {
		add(false, "memory", "%s of %s, %s sessions", size(all.of("strata.local.memory.usage", "")), size(limit), count(all.of("strata.local.sessions", "")))
	}
	if all.has("strata.watch.connected") {
		switch {
		case all.of("strata.watch.unsupported", "") > 0:
			add(false, "invalidations", "the store sends none; MaxStale bounds what memory serves")
		case all.of("strata.watch.connected", "") > 0:
			add(false, "invalidations", "arrive%s", ifAny(all.of("strata.watch.losses", ""), "; losses since the start: %s"))
		default:
			add(true, "invalidations", "do not arrive; each session is read from the store")
		}
	}
	if different := all.of("strata.audit.reads", "different"); different > 0 {
		add(true, "audits", "%s hits differed from the store", count(different))
	}
	if all.has("strata.coalesce.pending.changes") {
		age := time.Duration(all.of("strata.coalesce.pending.age", "") * float64(time.Second))
		add(age > 30*time.Second, "pending", "%s changes%s", count(all.of("strata.coalesce.pending.changes", "")),
			ifAny(age.Seconds(), ", the oldest for "+age.Round(time.Millisecond).String()))
	}
	if failed := all.of("strata.coalesce.commits", "error"); failed > 0 {
		add(false, "writes", "%s failed at the store since the start; the log says why", count(failed))
	}
	if lost := all.of("strata.coalesce.give_ups", "error"); lost > 0 {
		add(true, "given up", "%s accepted changes", count(lost))
	}
	return facts
}

// ifAny says something of a number unless it is 0.
func ifAny(n float64, text string) string {
	if n == 0 {
		return ""
	}
	return strings.Replace(text, "%s", count(n), 1)
}

// count is a whole number with its thousands apart.
func count(v float64) string {
	digits := strconv.FormatInt(int64(v), 10)
	for n := len(digits) - 3; n > 0; n -= 3 {
		digits = digits[:n] + "," + digits[n:]
	}
	return digits
}
