package local_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// found says how often each outcome of an audit was counted.
func found(l *local.Storage) map[string]int64 {
	all := map[string]int64{}
	for name, count := range map[string]telemetry.Count{
		"same": telemetry.AuditSame, "changed": telemetry.AuditChanged, "different": telemetry.AuditDiffers,
		"failed": telemetry.AuditFailed, "skipped": telemetry.AuditSkipped,
	} {
		if n := l.Tally().Total(count); n > 0 {
			all[name] = n
		}
	}
	return all
}

func wantFound(t *testing.T, l *local.Storage, outcome string, n int64) {
	t.Helper()
	synctest.Wait()
	if all := found(l); len(all) != 1 || all[outcome] != n {
		t.Errorf("found %v, want %d %s", all, n, outcome)
	}
}

func TestAnAuditFindsAChangeWithoutAnInvalidation(t *testing.T) {
	var lines bytes.Buffer
	reader := metric.NewManualReader()
	config := telemetry.Config{
		Metering: metric.NewMeterProvider(metric.WithReader(reader)),
		Logger:   slog.New(slog.NewTextHandler(&lines, nil)),
	}
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		l.Report(config.Sink())
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		wantFound(t, l, "same", 1)
		time.Sleep(3 * time.Second)
		s.Put("a", map[string]any{"k": 2}, ttl) // and no word of it
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(4 * time.Second)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1) // its invalidation may yet come
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if all := found(l); all["different"] != 1 {
			t.Errorf("found %v, want a difference", all)
		}
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)

		var all metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &all); err != nil {
			t.Fatal(err)
		}
		for _, m := range all.ScopeMetrics[0].Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "strata.audit.age" {
				if p := h.DataPoints[0]; p.Count != 1 || p.Sum != 3 {
					t.Errorf("%d ages of %v s in all, want one of 3 s", p.Count, p.Sum)
				}
				return
			}
		}
		t.Error("its age isn't recorded")
	}, local.Audited(1))
	if text := lines.String(); strings.Count(text, "differed from the store") != 1 {
		t.Errorf("logged %q", text)
	}
}

// A difference is no fault while its invalidation may be on its way.
func TestAnAuditAllowsForInvalidationsOnTheirWay(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		s.Put("a", map[string]any{"k": 2}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(time.Second)
		from.receiver().Invalidate("a")
		time.Sleep(10 * time.Second)
		wantFound(t, l, "changed", 1)
	}, local.Audited(1))
}

// An audit ends with the lease if that ends first: nothing is served after that.
func TestAnAuditWaitsNoLongerThanTheLease(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		from.receiver().ValidUntil(time.Now().Add(time.Second))
		s.Put("a", map[string]any{"k": 2}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		time.Sleep(500 * time.Millisecond)
		from.receiver().ValidUntil(time.Now().Add(time.Second)) // and yet no word
		time.Sleep(600 * time.Millisecond)
		wantFound(t, l, "different", 1)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2)
	}, local.Audited(1))
}

func TestAnAuditKnowsMaxStale(t *testing.T) {
	s := teststore.New()
	bubble(t, s, func(t *testing.T, l *local.Storage, settle func()) {
		s.Put("a", map[string]any{"k": 1}, ttl)
		load(t, l, "a")
		settle()
		s.Put("a", map[string]any{"k": 2}, ttl)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		wantFound(t, l, "changed", 1)
		want(t, load(t, l, "a"), tiers.OutcomeMiss, "k", 2) // it needn't last
	}, local.Audited(1))
}

// A node's own write is no difference, however long it takes.
func TestAnAuditKnowsOwnWrites(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		s.OnCommit = func(context.Context, string) error { time.Sleep(time.Second); return nil }
		done := make(chan struct{})
		go func() {
			defer close(done)
			commit(t, l, "a", map[string]any{"k": 2})
		}()
		synctest.Wait() // applied, and not returned yet
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
		<-done
		time.Sleep(10 * time.Second)
		wantFound(t, l, "changed", 1)
		want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 2)
	}, local.Audited(1))
}

func TestAnAuditIsBoundedAndEnds(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		loads, _, _ := s.Count()
		release := make(chan struct{})
		s.OnLoad = func(ctx context.Context, _ string) {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		for range 200 {
			want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
			synctest.Wait()
		}
		if all := found(l); all["skipped"] != 200-64-1 {
			t.Errorf("found %v, want 64 hits to wait, one to be compared and the others to be skipped", all)
		}
		if now, _, _ := s.Count(); now > loads+1 {
			t.Errorf("%d audits at once", now-loads)
		}
		close(release)
		synctest.Wait()
		if all := found(l); all["same"] != 65 {
			t.Errorf("found %v", all)
		}
	}, local.Audited(1))
}

func TestAnAuditOfAStoreThatFails(t *testing.T) {
	for name, fail := range map[string]func(s *teststore.Store){
		"silence": func(s *teststore.Store) { s.OnLoad = func(ctx context.Context, _ string) { <-ctx.Done() } },
		"panic":   func(s *teststore.Store) { s.OnLoad = func(context.Context, string) { panic("away") } },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
				fail(s)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
				time.Sleep(6 * time.Second)
				wantFound(t, l, "failed", 1)
				want(t, load(t, l, "a"), tiers.OutcomeHit, "k", 1)
			}, local.Audited(1))
		})
	}
}

// A fraction is about that part of the hits.
func TestAnAuditTakesAPartOfTheHits(t *testing.T) {
	watched(t, func(t *testing.T, s *teststore.Store, from *source, l *local.Storage) {
		for range 10_000 {
			load(t, l, "a")
			synctest.Wait()
		}
		if n := found(l)["same"]; n < 800 || n > 1200 {
			t.Errorf("%d of 10,000 hits were compared, want about 1,000", n)
		}
	}, local.Audited(0.1))
}
