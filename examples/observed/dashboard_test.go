package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gf-strata/strata/internal/program"
	"github.com/gf-strata/strata/internal/redistest"
)

var (
	metricName = regexp.MustCompile(`\bstrata_[a-z_]+`)
	seriesUsed = regexp.MustCompile(`\b(strata_[a-z_]+)\{([^}]*)\}`)
	labelUsed  = regexp.MustCompile(`\b([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	ruleExpr   = regexp.MustCompile(`(?ms)^ +expr: (.*?)^ +(?:for|labels):`)
	runbook    = regexp.MustCompile(`runbook_url: \S+/docs/production\.md#(\S+)`)
	alertName  = regexp.MustCompile(`- alert: (\w+)`)
	promql     = regexp.MustCompile("(?s)```promql\n(.*?)```")
)

// Labels that Prometheus adds, and the one that only failing operations have.
var otherLabels = []string{"job", "instance", "le", "error_type"}

// expressions returns the PromQL of the dashboard, of the rules and of the docs, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	content, err := os.ReadFile("../../telemetry/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all[panel.Title+" "+target.LegendFormat] = target.Expr
		}
	}
	rules, err := os.ReadFile("../../telemetry/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for n, found := range ruleExpr.FindAllStringSubmatch(string(rules), -1) {
		all[alertName.FindAllStringSubmatch(string(rules), -1)[n][1]] = found[1]
	}
	for _, page := range []string{"production.md", "zh/production.md"} {
		content, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range promql.FindAllStringSubmatch(string(content), -1) {
			all[page] += block[1]
		}
		if all[page] == "" {
			t.Fatalf("%s has no PromQL", page)
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d expressions were found", len(all))
	}
	return all
}

// Each metric, label and value that the dashboard and the alerts use is one that a program
// exports.
func TestDashboardUsesExportedMetrics(t *testing.T) {
	t.Parallel()
	p := program.Start(t, "-redis", redistest.Start(t).URL())
	v := newVisitor(t, p.Base)
	v.visit()
	status, exported := v.send(http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		t.Fatalf("/metrics returned %d", status)
	}
	end(p)
	has := func(pattern string) bool { return regexp.MustCompile(`(?m)^` + pattern).MatchString(exported) }

	for where, expr := range expressions(t) {
		for _, name := range metricName.FindAllString(expr, -1) {
			if !strings.HasPrefix(name, "strata_outcome") && !strings.HasPrefix(name, "strata_cause") &&
				!strings.HasPrefix(name, "strata_reason") && !strings.HasPrefix(name, "strata_operation") && !has(name+`\{`) {
				t.Errorf("%s: %s isn't exported", where, name)
			}
		}
		for _, used := range seriesUsed.FindAllStringSubmatch(expr, -1) {
			for _, label := range labelUsed.FindAllStringSubmatch(used[2], -1) {
				if slices.Contains(otherLabels, label[1]) {
					continue
				}
				for _, value := range strings.Split(label[3], "|") {
					if !has(used[1] + `\{[^}]*\b` + label[1] + `="` + value + `"`) {
						t.Errorf("%s: no %s has %s=%q", where, used[1], label[1], value)
					}
				}
			}
		}
		for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
			for _, label := range strings.Split(group[1], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(otherLabels, label) && !has(`strata_\w+\{[^}]*\b`+label+`="`) {
					t.Errorf("%s: nothing exported has the label %s", where, label)
				}
			}
		}
	}
}

// Each alert's runbook is a section of docs/production.md.
func TestAlertsHaveRunbooks(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../telemetry/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	names, links := alertName.FindAllStringSubmatch(string(rules), -1), runbook.FindAllStringSubmatch(string(rules), -1)
	if len(names) == 0 || len(names) != len(links) {
		t.Fatalf("%d alerts have %d runbooks", len(names), len(links))
	}
	for n, name := range names {
		if strings.ToLower(name[1]) != links[n][1] || !strings.Contains(string(page), "\n### "+name[1]+"\n") {
			t.Errorf("%s has no section of its own in docs/production.md", name[1])
		}
	}
}
