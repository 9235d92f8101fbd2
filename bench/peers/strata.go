package peers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers/local"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// behind is how long Strata may write behind.
const behind = 100 * time.Millisecond

// WrittenTTL is what Strata gives a session to live when it writes it: a tenth more than
// the ttl, so that the next slide is due when that tenth is used up.
const WrittenTTL = TTL + TTL/10

func strata() Subject {
	return Subject{Name: "Strata", Strata: true, Isolated: true, Redis: true, Memory: true, HTTP: true,
		Setup: "layer.Chain(redisstore.FromGoFrame(client, prefix), layer.Coalesced(), layer.Local(), layer.Traced()), " +
			"on the same client as StorageRedis. Every SetSession waits for Redis. No tracer provider is set, as in a program without OpenTelemetry.",
		Open: func(e Env) (Node, error) { return openStrata(e, nil, nil) }}
}

func strataAgain() Subject {
	s := strata()
	s.Name, s.Setup = "Strata again", "The same as Strata, in processes of its own: how far it is from Strata is what the machine's noise makes of a comparison."
	return s
}

func strataBehind() Subject {
	s := strata()
	s.Name, s.Setup = "Strata, write-behind", "Strata with layer.Coalesced(layer.WriteBehind(100ms)): what a process had accepted in the last "+
		"100 ms is lost if it is killed. A round ends when all is in Redis."
	s.Open = func(e Env) (Node, error) {
		return openStrata(e, []layer.CoalescedOption{layer.WriteBehind(behind)}, nil)
	}
	return s
}

// sampledOf is how many requests there are for each that belongs to a sampled trace.
const sampledOf = 100

func strataTraced() Subject {
	s := strata()
	s.Name, s.Setup = "Strata, traced", "Strata with a tracer provider of OpenTelemetry's SDK and a batch processor that drops the spans. Each request "+
		"belongs to a trace, as behind a server that traces; one in a hundred is sampled."
	s.Open = func(e Env) (Node, error) {
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(dropped{}))
		node, err := openStrata(e, nil, []layer.TracedOption{layer.TracerProvider(provider)},
			func() error { return provider.Shutdown(context.Background()) })
		if err != nil {
			return nil, errors.Join(err, provider.Shutdown(context.Background()))
		}
		parent := trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}
		t := &tracedNode{Node: node, plain: trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(parent))}
		parent.TraceFlags = trace.FlagsSampled
		t.sampled = trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(parent))
		return t, nil
	}
	return s
}

// tracedNode has requests belong to traces. All but the counter is set at construction.
type tracedNode struct {
	Node
	plain, sampled context.Context
	requests       atomic.Uint64
}

func (n *tracedNode) Begin(_ context.Context, id string) Request {
	if n.requests.Add(1)%sampledOf == 0 {
		return n.Node.Begin(n.sampled, id)
	}
	return n.Node.Begin(n.plain, id)
}

// dropped exports nothing.
type dropped struct{}

func (dropped) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (dropped) Shutdown(context.Context) error                             { return nil }

func openStrata(e Env, opts []layer.CoalescedOption, traced []layer.TracedOption, close ...func() error) (Node, error) {
	client, err := goframe(e)
	if err != nil {
		return nil, err
	}
	store := redisstore.FromGoFrame(client, redisstore.Prefix(Prefix))
	chain := layer.Chain(store, layer.Coalesced(opts...), layer.Local(layer.MaxBytes(e.CacheBytes)), layer.Traced(traced...))
	n := newNode(chain, e.TTL, append(close, closer(client),
		func() error { return store.Close(context.Background()) },
		func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return chain.Close(ctx)
		})...)
	n.seed, n.flush = SeedJSON(e, WrittenTTL), chain.Flush
	if memory, ok := layer.As[*local.Storage](chain); ok {
		n.misses = func() int64 { return memory.Tally().Total(telemetry.ReadMiss) }
	}
	return n, nil
}
