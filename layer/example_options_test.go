package layer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// breakable is a store that a test can take away.
type breakable struct {
	gsession.Storage
	broken bool
}

func (b *breakable) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if b.broken {
		return nil, errors.New("the store is away")
	}
	return b.Storage.GetSession(ctx, id, ttl)
}

func (b *breakable) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if b.broken {
		return errors.New("the store is away")
	}
	return b.Storage.SetSession(ctx, id, data, ttl)
}

// While the store is away, memory serves what it had read before, for a minute here.
func ExampleServeStale() {
	ctx := context.Background()
	store := &breakable{Storage: gsession.NewStorageMemory()}
	chain := layer.Chain(store, layer.Local(layer.MaxStale(0), layer.ServeStale(time.Minute)))
	defer chain.Close(ctx)
	sessions := gsession.New(time.Hour, chain)
	login := sessions.New(ctx, "an-id")
	login.MustSet("user", "john")
	_ = login.Close()
	fmt.Println(sessions.New(ctx, "an-id").MustGet("user"))

	store.broken = true
	fmt.Println(sessions.New(ctx, "an-id").MustGet("user"))
	// Output:
	// john
	// john
}

// Pending changes survive the process, in a directory of its own. New returns an error if the
// journal can't be opened.
func ExampleJournal() {
	ctx := context.Background()
	store, err := redisstore.Open("redis://127.0.0.1:6379/0", redisstore.Prefix("app:"))
	if err != nil {
		panic(err)
	}
	chain, err := layer.New(store,
		layer.Coalesced(layer.WriteBehind(50*time.Millisecond), layer.Journal("/var/lib/app/sessions")),
		layer.Local(), layer.Traced())
	if err != nil {
		panic(err)
	}
	defer chain.Close(ctx)
}

// A change that was accepted and can't be delivered: another node has removed the session meanwhile.
func ExampleOnGiveUp() {
	ctx := context.Background()
	store := gsession.NewStorageMemory()
	reports := make(chan layer.GiveUp, 1)
	chain := layer.Chain(store, layer.Coalesced(
		layer.WriteBehind(time.Hour),
		layer.OnGiveUp(func(lost layer.GiveUp) { reports <- lost }),
	))
	sessions := gsession.New(time.Hour, chain)
	login := sessions.New(ctx, "an-id")
	login.MustSet("user", "john")
	_ = login.Close()
	_ = chain.Flush(ctx)

	late := sessions.New(ctx, "an-id")
	late.MustSet("theme", "dark")
	fmt.Println(late.Close())         // accepted
	_ = store.RemoveAll(ctx, "an-id") // by another node
	_ = chain.Close(ctx)              // tries to deliver it
	lost := <-reports
	fmt.Println(lost.Changes, "change:", errors.Is(lost.Cause, layer.ErrRevoked))
	// Output:
	// <nil>
	// 1 change: true
}

// GoFrame's StorageRedis sends no invalidations; Redis does.
func ExampleInvalidation() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	watcher := redisstore.New(client, redisstore.Prefix("prefix:"))
	defer watcher.Close(ctx)
	chain := layer.Chain(gsession.NewStorageMemory(), // gsession.NewStorageRedis(g.Redis(), "prefix:")
		layer.Coalesced(),
		layer.Local(layer.Invalidation(watcher)))
	defer chain.Close(ctx)
}

// One hit in a thousand is compared with the store, in the background.
func ExampleAudited() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.Audited(0.001)))
	fmt.Println(chain.Close(context.Background()))
	// Output: <nil>
}

// All layers of the chain log there.
func ExampleLogger() {
	ctx := context.Background()
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	store := &breakable{Storage: gsession.NewStorageMemory()}
	chain := layer.Chain(store, layer.Traced(layer.Logger(slog.New(handler))))
	request := gsession.New(time.Hour, chain).New(ctx, "an-id")
	request.MustSet("user", "john")
	store.broken = true
	_ = request.Close()
	_ = chain.Close(ctx)
	// Output: level=WARN msg="strata: a session could not be written" error="strata: GetSession failed in the store: *errors.errorString"
}

// The metrics of all layers go to the provider.
func ExampleMeterProvider() {
	ctx := context.Background()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.Exclusive()), layer.Traced(layer.MeterProvider(provider)))
	defer chain.Close(ctx)
	sessions := gsession.New(time.Hour, chain)
	login := sessions.New(ctx, "an-id")
	login.MustSet("user", "john")
	_ = login.Close()
	for range 3 { // the first asks the store
		_ = sessions.New(ctx, "an-id").MustGet("user")
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		fmt.Println(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "strata.local.reads" {
				continue
			}
			for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
				if outcome, _ := point.Attributes.Value("strata.outcome"); outcome.AsString() == "hit" {
					fmt.Println(point.Value, "hits")
				}
			}
		}
	}
	// Output: 2 hits
}

// counting is a decorator of one's own: it counts how often it is asked for a session. Unwrap lets
// the layers above find those below.
type counting struct {
	gsession.Storage
	reads int
}

func (c *counting) Unwrap() gsession.Storage { return c.Storage }

func (c *counting) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	c.reads++
	return c.Storage.GetSession(ctx, id, ttl)
}

func ExampleDecorator() {
	ctx := context.Background()
	counted := func(inner gsession.Storage) gsession.Storage { return &counting{Storage: inner} }
	chain := layer.Chain(gsession.NewStorageMemory(), counted, layer.Local(layer.Exclusive()))
	defer chain.Close(ctx)
	sessions := gsession.New(time.Hour, chain)
	login := sessions.New(ctx, "an-id")
	login.MustSet("user", "john")
	_ = login.Close()
	before, _ := layer.As[*counting](chain)
	reads := before.reads
	for range 3 {
		_ = sessions.New(ctx, "an-id").MustGet("user")
	}
	fmt.Println(before.reads-reads <= 1)
	// Output: true
}

// A struct under a key of a session, and what older versions of the program had written there.
func ExampleTyped() {
	ctx := context.Background()
	type cart struct{ Items []string }
	key := layer.Typed[cart]("cart")
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local())
	defer chain.Close(ctx)
	session := gsession.New(time.Hour, chain).New(ctx, "an-id")
	if _, err := key.Get(session); errors.Is(err, layer.ErrNoValue) {
		fmt.Println("empty")
	}
	if err := key.Set(session, cart{Items: []string{"tea"}}); err != nil {
		fmt.Println(err)
	}
	mine, err := key.Get(session)
	fmt.Println(strings.Join(mine.Items, ", "), err)
	// Output:
	// empty
	// tea <nil>
}
