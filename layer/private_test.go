package layer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gf-strata/strata/internal/poll"
	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// observed is everything that a chain puts out about itself.
type observed struct {
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
	tracer *sdktrace.TracerProvider
	log    teststore.Log
	errors []error
}

func observe() (o *observed, traced layer.Decorator) {
	o = &observed{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	o.tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.spans))
	return o, layer.Traced(
		layer.TracerProvider(o.tracer), layer.RootSpans(),
		layer.MeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))),
		layer.Logger(slog.New(slog.NewJSONHandler(&o.log, nil))),
	)
}

func (o *observed) metrics(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// everything is all of it, as text.
func (o *observed) everything(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, span := range o.spans.GetSpans() {
		fmt.Fprintf(&all, "%+v\n", span)
	}
	text, err := json.Marshal(o.metrics(t))
	if err != nil {
		t.Fatal(err)
	}
	all.Write(text)
	for _, err := range o.errors {
		fmt.Fprintf(&all, "\n%s\n%+v", err, err)
	}
	all.WriteString(o.log.String())
	return all.String()
}

// total adds up a counter's points with the given outcome, or all of them.
func total(m metricdata.Metrics, outcome string) (n int64) {
	sum, _ := m.Data.(metricdata.Sum[int64])
	for _, p := range sum.DataPoints {
		if value, _ := p.Attributes.Value("strata.outcome"); outcome == "" || value.AsString() == outcome {
			n += p.Value
		}
	}
	return n
}

// A full run, with whatever can go wrong, and not one byte of a session in its output.
func TestNothingOfASessionIsInTelemetry(t *testing.T) {
	for name, opts := range map[string][]layer.CoalescedOption{
		"synchronous": {layer.WriteTimeout(time.Second)},
		"behind":      {layer.WriteTimeout(time.Second), layer.WriteBehind(10 * time.Millisecond), layer.Journal(t.TempDir())},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); shownByARun(t, opts) })
	}
}

func shownByARun(t *testing.T, opts []layer.CoalescedOption) {
	const (
		prefix = "prefix-81c2f0:"
		id     = "id-7f3a9c"
		key    = "key-5d20e1"
		value  = "value-c48b6f"
	)
	ctx := context.Background()
	server := redistest.Start(t)
	o, traced := observe()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second})
	t.Cleanup(func() { _ = client.Close() })
	store := redisstore.New(client, redisstore.Prefix(prefix))
	chain := layer.Chain(store, traced, patientCoalesced(opts...), patientLocal(layer.Audited(1)), layer.Traced(layer.TracerProvider(o.tracer), layer.RootSpans()))
	manager := gsession.New(time.Hour, chain)
	said := func(err error) {
		if err != nil {
			o.errors = append(o.errors, err)
		}
	}
	save := func(id string, value any) {
		s := manager.New(ctx, id)
		said(s.Set(key, value))
		said(s.Close())
	}
	read := func(id string) {
		s := manager.New(ctx, id)
		_, err := s.Get(key)
		said(err)
		said(s.Close())
	}

	for n := range 20 {
		save(fmt.Sprint(id, n), value)
	}
	poll.Until(t, "a session is read from memory", func() bool {
		read(id + "1")
		return total(o.metrics(t)["strata.local.reads"], "hit") > 100 && total(o.metrics(t)["strata.audit.reads"], "same") > 0
	})
	late := manager.New(ctx, id+"2")
	said(late.Set(key, value+"late"))
	said(client.Del(ctx, prefix+id+"2").Err())
	said(late.Close()) // revoked
	read(id + "none")
	save(id+"bad", make(chan int))                               // no JSON
	said(client.Set(ctx, prefix+id+"3", value, 0).Err())         // no session
	said(client.HSet(ctx, prefix+id+"4", key, value).Err())      // no string
	said(client.Set(ctx, prefix+id+"5", `{"`+key+`":`, 0).Err()) // half a session
	for n := 3; n < 6; n++ {
		read(fmt.Sprint(id, n))
		save(fmt.Sprint(id, n), value)
	}
	said(chain.SetSession(ctx, id+"nil", nil, time.Hour))
	said(chain.UpdateTTL(ctx, id, -time.Hour))
	server.Stop()
	read(id + "6")
	save(id+"6", value)
	said(chain.RemoveAll(ctx, id+"6"))
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	said(chain.Flush(short))
	server.Restart(t)
	said(chain.Close(ctx))

	if len(o.errors) < 5 || len(o.spans.GetSpans()) < 100 {
		t.Fatalf("only %d errors and %d spans", len(o.errors), len(o.spans.GetSpans()))
	}
	output := o.everything(t)
	for _, needed := range []string{"session Load", "strata.local.reads", "could not be written", "strata.store.operation.duration"} {
		if !strings.Contains(output, needed) {
			t.Errorf("%q is not in the output", needed)
		}
	}
	for _, secret := range []string{prefix, "id-7f", key, "value-c4"} {
		if at := strings.Index(output, secret); at >= 0 {
			t.Errorf("%q is in the output: …%s…", secret, output[max(0, at-200):min(len(output), at+100)])
		}
	}
}

// The errors that ghttp drops when it closes a session are logged.
func TestAnErrorAtTheCloseIsLogged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o, traced := observe()
	store := gsession.NewStorageMemory()
	chain := layer.Chain(store, patientLocal(), traced)
	defer func() { _ = chain.Close(ctx) }()
	manager := gsession.New(time.Hour, chain)
	first := manager.New(ctx, "closed")
	first.MustSet("k", 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	late := manager.New(ctx, "closed")
	late.MustSet("k", 2)
	if err := store.RemoveAll(ctx, "closed"); err != nil {
		t.Fatal(err)
	}
	if err := late.Close(); !errors.Is(err, layer.ErrRevoked) {
		t.Fatalf("returned %v", err)
	}
	if err := chain.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if text := o.everything(t); !strings.Contains(text, `"level":"WARN","msg":"strata: a session could not be written","error":"strata: the session was removed`) {
		t.Errorf("logged %s", o.log.String())
	}
	if n := total(o.metrics(t)["strata.revoked_writes"], ""); n != 1 {
		t.Errorf("%d revoked writes are counted, want 1", n)
	}
}

// One Traced anywhere in a chain says where all layers report, the store included.
func TestOneTracedSetsTheSinkOfTheChain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, chain := range map[string]func(traced layer.Decorator) *layer.Stack{
		"first": func(traced layer.Decorator) *layer.Stack {
			return layer.Chain(gsession.NewStorageMemory(), traced, patientCoalesced(), patientLocal())
		},
		"last": func(traced layer.Decorator) *layer.Stack {
			return layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal(), traced)
		},
		"above a chain": func(traced layer.Decorator) *layer.Stack {
			inner := layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal())
			t.Cleanup(func() { _ = inner.Close(ctx) })
			return layer.Chain(inner, traced)
		},
		"above a stranger": func(traced layer.Decorator) *layer.Stack {
			strange := func(inner gsession.Storage) gsession.Storage { return struct{ gsession.Storage }{inner} }
			return layer.Chain(gsession.NewStorageMemory(), patientCoalesced(), patientLocal(), strange, traced)
		},
		"over Snapshots": func(traced layer.Decorator) *layer.Stack {
			return layer.Chain(newKeyed(), layer.Snapshots(), patientCoalesced(), patientLocal(), traced)
		},
	} {
		o, traced := observe()
		stack := chain(traced)
		s := gsession.New(time.Hour, stack).New(ctx, "anywhere")
		s.MustSet("k", 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		gsession.New(time.Hour, stack).New(ctx, "anywhere").MustGet("k")
		m := o.metrics(t)
		if commits, reads := total(m["strata.coalesce.commits"], "ok"), total(m["strata.local.reads"], ""); commits != 1 || reads == 0 {
			t.Errorf("%s: %d commits and %d reads are counted", name, commits, reads)
		}
		duration, _ := m["strata.store.operation.duration"].Data.(metricdata.Histogram[float64])
		stores := map[string]bool{}
		for _, p := range duration.DataPoints {
			kind, _ := p.Attributes.Value("strata.storage")
			stores[kind.AsString()] = true
		}
		if len(stores) != 1 || !stores["*gsession.StorageMemory"] && !stores["*layer_test.keyed"] {
			t.Errorf("%s: measured are %v, and not the store alone", name, stores)
		}
		if err := stack.Close(ctx); err != nil {
			t.Error(err)
		}
		if after := total(o.metrics(t)["strata.coalesce.commits"], "ok"); after != 1 {
			t.Errorf("%s: %d commits after Close", name, after)
		}
	}
}

// A commit of several requests' changes is linked to all of them.
func TestAMergedCommitIsLinkedToItsRequests(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Traced(layer.TracerProvider(provider)), patientCoalesced(layer.WriteBehind(time.Hour)))
	manager := gsession.New(time.Hour, chain)
	first := manager.New(context.Background(), "merged")
	first.MustSet("k", 0)
	if err := errors.Join(first.Close(), chain.Flush(context.Background())); err != nil {
		t.Fatal(err)
	}
	exporter.Reset()
	requests := map[string]bool{}
	for n := range 3 {
		ctx, span := provider.Tracer("").Start(context.Background(), "request")
		requests[span.SpanContext().SpanID().String()] = true
		s := manager.New(ctx, "merged")
		s.MustSet(fmt.Sprint(n), n)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		span.End()
	}
	if err := chain.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var linked int
	for _, span := range exporter.GetSpans() {
		if span.Name != "session Commit" {
			continue
		}
		for _, link := range span.Links {
			if requests[link.SpanContext.SpanID().String()] {
				linked++
			}
		}
		if !requests[span.Parent.SpanID().String()] {
			t.Errorf("the commit is below %v", span.Parent.SpanID())
		}
	}
	if linked != 3 {
		t.Errorf("linked to %d requests, want 3", linked)
	}
}
