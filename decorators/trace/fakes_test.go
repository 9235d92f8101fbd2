package trace_test

import (
	"context"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// The texts that must never be in a span.
const (
	secretID    = "id-7f3a9c"
	secretKey   = "key-5d20e1"
	secretValue = "value-c48b6f"
	ttl         = time.Minute
)

// recorder is a provider whose spans end up in memory.
func recorder(t testing.TB, opts ...sdktrace.TracerProviderOption) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSyncer(exporter))...)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, exporter
}

// to is the config of a provider that gets a span of every operation.
func to(provider oteltrace.TracerProvider) telemetry.Config {
	return telemetry.Config{Tracing: provider, Roots: true}
}

// attributes are a span's, as strings.
func attributes(span tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, attribute := range span.Attributes {
		all[string(attribute.Key)] = attribute.Value.Emit()
	}
	return all
}

// scripted is a storage of the capability that ends every operation alike: with
// err, and with nothing or a little where that is nil; fault is raised instead.
type scripted struct {
	style    tiers.Style
	outcome  tiers.Outcome
	snapshot *tiers.Snapshot
	data     map[string]any
	err      error
	fault    any
	seen     context.Context
}

var _ tiers.Storage = (*scripted)(nil)

func (s *scripted) answer(ctx context.Context) error {
	s.seen = ctx
	if s.fault != nil {
		panic(s.fault)
	}
	return s.err
}

func (s *scripted) Style(context.Context) tiers.Style { return s.style }

func (s *scripted) Load(ctx context.Context, _ string, _ time.Duration) (tiers.Read, error) {
	return tiers.Read{Snapshot: s.snapshot, Outcome: s.outcome}, s.answer(ctx)
}

func (s *scripted) Commit(ctx context.Context, _ string, _ *tiers.Delta, _ time.Duration) (*tiers.Snapshot, error) {
	return s.snapshot, s.answer(ctx)
}

func (s *scripted) Slide(ctx context.Context, _ string, _ time.Duration) (time.Time, error) {
	return time.Unix(1, 0), s.answer(ctx)
}

func (s *scripted) New(ctx context.Context, _ time.Duration) (string, error) {
	return secretID, s.answer(ctx)
}

func (s *scripted) Get(ctx context.Context, _, key string) (any, error) {
	return s.data[key], s.answer(ctx)
}

func (s *scripted) GetSize(ctx context.Context, _ string) (int, error) {
	return len(s.data), s.answer(ctx)
}

func (s *scripted) Data(ctx context.Context, _ string) (map[string]any, error) {
	return s.data, s.answer(ctx)
}

func (s *scripted) Set(ctx context.Context, _, _ string, _ any, _ time.Duration) error {
	return s.answer(ctx)
}

func (s *scripted) SetMap(ctx context.Context, _ string, _ map[string]any, _ time.Duration) error {
	return s.answer(ctx)
}

func (s *scripted) Remove(ctx context.Context, _, _ string) error { return s.answer(ctx) }

func (s *scripted) RemoveAll(ctx context.Context, _ string) error { return s.answer(ctx) }

func (s *scripted) GetSession(ctx context.Context, _ string, _ time.Duration) (*gmap.StrAnyMap, error) {
	if err := s.answer(ctx); err != nil || s.data == nil {
		return nil, err
	}
	return gmap.NewStrAnyMap(true), nil
}

func (s *scripted) SetSession(ctx context.Context, _ string, _ *gmap.StrAnyMap, _ time.Duration) error {
	return s.answer(ctx)
}

func (s *scripted) UpdateTTL(ctx context.Context, _ string, _ time.Duration) error {
	return s.answer(ctx)
}

// stranger hides the capability of what it wraps, as a decorator of another module does.
type stranger struct{ gsession.Storage }

// snapshotOf makes a snapshot of a session with one recognisable key and value.
func snapshotOf() *tiers.Snapshot {
	return tiers.Adopt(map[string]any{secretKey: secretValue, "other": 1})
}

// change is a delta that sets two keys.
func change(t testing.TB) *tiers.Delta {
	t.Helper()
	delta, err := tiers.Replace(map[string]any{secretKey: secretValue, "other": 1})
	if err != nil {
		t.Fatal(err)
	}
	return delta
}

// method is one operation as a test calls it.
type method struct {
	name  string
	style tiers.Style // of the store whose operation it is
	keys  string      // strata.keys where it succeeds
	call  func(context.Context, tiers.Storage) error
}

func methods(t testing.TB) []method {
	data, delta := map[string]any{secretKey: secretValue}, change(t)
	const snapshot, direct = tiers.StyleSnapshot, tiers.StyleDirect
	return []method{
		{"Load", snapshot, "2", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.Load(ctx, secretID, ttl)
			return err
		}},
		{"Commit", snapshot, "2", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.Commit(ctx, secretID, delta, ttl)
			return err
		}},
		{"Slide", snapshot, "", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.Slide(ctx, secretID, ttl)
			return err
		}},
		{"New", direct, "", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.New(ctx, ttl)
			return err
		}},
		{"Get", direct, "", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.Get(ctx, secretID, secretKey)
			return err
		}},
		{"GetSize", direct, "1", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.GetSize(ctx, secretID)
			return err
		}},
		{"Data", direct, "1", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.Data(ctx, secretID)
			return err
		}},
		{"Set", direct, "1", func(ctx context.Context, s tiers.Storage) error {
			return s.Set(ctx, secretID, secretKey, secretValue, ttl)
		}},
		{"SetMap", direct, "1", func(ctx context.Context, s tiers.Storage) error {
			return s.SetMap(ctx, secretID, data, ttl)
		}},
		{"Remove", direct, "1", func(ctx context.Context, s tiers.Storage) error {
			return s.Remove(ctx, secretID, secretKey)
		}},
		{"RemoveAll", direct, "", func(ctx context.Context, s tiers.Storage) error {
			return s.RemoveAll(ctx, secretID)
		}},
		{"GetSession", direct, "", func(ctx context.Context, s tiers.Storage) error {
			_, err := s.GetSession(ctx, secretID, ttl)
			return err
		}},
		{"SetSession", direct, "", func(ctx context.Context, s tiers.Storage) error {
			return s.SetSession(ctx, secretID, gmap.NewStrAnyMapFrom(data, true), ttl)
		}},
		{"UpdateTTL", direct, "", func(ctx context.Context, s tiers.Storage) error {
			return s.UpdateTTL(ctx, secretID, ttl)
		}},
	}
}
