package layer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/layertest"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// stranger is a decorator of another module: it embeds what it wraps, and has no Unwrap.
type stranger struct{ gsession.Storage }

func strange(inner gsession.Storage) gsession.Storage { return stranger{inner} }

// minimal is a storage of the kind that GoFrame users write: StorageBase, and the few
// methods that they need, sharing its maps.
type minimal struct {
	gsession.StorageBase
	sessions *gmap.StrAnyMap
}

func (m *minimal) GetSession(_ context.Context, id string, _ time.Duration) (*gmap.StrAnyMap, error) {
	session, _ := m.sessions.Get(id).(*gmap.StrAnyMap)
	return session, nil
}

func (m *minimal) SetSession(_ context.Context, id string, data *gmap.StrAnyMap, _ time.Duration) error {
	m.sessions.Set(id, data)
	return nil
}

func (m *minimal) RemoveAll(_ context.Context, id string) error {
	m.sessions.Remove(id)
	return nil
}

// documented is a storage after GoFrame's documentation page.
type documented struct{ inner *gsession.StorageMemory }

func (d documented) New(ctx context.Context, ttl time.Duration) (string, error) {
	return d.inner.New(ctx, ttl)
}
func (d documented) Get(ctx context.Context, id, key string) (any, error) {
	return d.inner.Get(ctx, id, key)
}
func (d documented) GetMap(ctx context.Context, id string) (map[string]any, error) {
	return d.inner.Data(ctx, id)
}
func (d documented) GetSize(ctx context.Context, id string) (int, error) {
	return d.inner.GetSize(ctx, id)
}
func (d documented) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	return d.inner.Set(ctx, id, key, value, ttl)
}
func (d documented) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	return d.inner.SetMap(ctx, id, data, ttl)
}
func (d documented) Remove(ctx context.Context, id, key string) error {
	return d.inner.Remove(ctx, id, key)
}
func (d documented) RemoveAll(ctx context.Context, id string) error {
	return d.inner.RemoveAll(ctx, id)
}
func (d documented) GetSession(ctx context.Context, id string, ttl time.Duration, _ *gmap.StrAnyMap) (*gmap.StrAnyMap, error) {
	return d.inner.GetSession(ctx, id, ttl)
}
func (d documented) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	return d.inner.SetSession(ctx, id, data, ttl)
}
func (d documented) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	return d.inner.UpdateTTL(ctx, id, ttl)
}

// subject is a store that the suite runs on.
type subject struct {
	name   string
	open   func(t *testing.T, server *redistest.Server, prefix string) gsession.Storage
	shared bool // what open returns keeps its sessions outside of the process
	direct bool
	opts   []layertest.Option
}

const noAtomicCommit = "the store takes a session as a whole: nodes overwrite each other between its read and its write"

// oneProcess are the laws that a store can't keep between processes if a commit of it
// isn't atomic.
var oneProcess = []layertest.Option{
	layertest.Except(5, "many requests on two nodes", noAtomicCommit),
	layertest.Except(6, "under load on two nodes", noAtomicCommit),
}

func subjects() []subject {
	return []subject{
		{name: "redisstore", shared: true, open: func(t *testing.T, server *redistest.Server, prefix string) gsession.Storage {
			return redisstore.New(client(t, server), redisstore.Prefix(prefix))
		}},
		{name: "StorageRedis", shared: true, open: func(t *testing.T, server *redistest.Server, prefix string) gsession.Storage {
			return gsession.NewStorageRedis(server.GoFrame(t), prefix)
		}, opts: append([]layertest.Option{
			layertest.Precision(time.Second),
			layertest.Except(8, "in use", "StorageRedis ignores slides of less than 10 s"),
			layertest.Except(8, "shortened", "StorageRedis ignores slides of less than 10 s"),
		}, oneProcess...)},
		{name: "StorageRedisHashTable", shared: true, direct: true, open: func(t *testing.T, server *redistest.Server, prefix string) gsession.Storage {
			return gsession.NewStorageRedisHashTable(server.GoFrame(t), prefix)
		}, opts: []layertest.Option{
			layertest.Precision(time.Second),
			layertest.Except(8, "in use", "a request that only reads never slides the expiry; Snapshots cures it"),
			layertest.Except(6, "", "a direct store writes each key at once and can't refuse a late one; Snapshots cures it"),
		}},
		{name: "StorageFile", shared: true, open: nil, opts: append([]layertest.Option{
			layertest.Except(8, "in use", "StorageFile slides every 10 s"),
			layertest.Except(8, "shortened", "StorageFile slides every 10 s"),
		}, oneProcess...)},
		{name: "StorageMemory", open: func(*testing.T, *redistest.Server, string) gsession.Storage {
			return gsession.NewStorageMemory()
		}},
		{name: "minimal", open: func(*testing.T, *redistest.Server, string) gsession.Storage {
			return &minimal{sessions: gmap.NewStrAnyMap(true)}
		}, opts: []layertest.Option{
			layertest.Except(8, "ends", "the storage looks at no ttl"),
			layertest.Except(8, "shortened", "the storage looks at no ttl"),
		}},
		{name: "FromDocumented", open: func(*testing.T, *redistest.Server, string) gsession.Storage {
			return layer.FromDocumented(documented{gsession.NewStorageMemory()})
		}},
	}
}

func client(t *testing.T, server *redistest.Server) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: longTimeout, PoolTimeout: longTimeout})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// patientLocal and patientCoalesced wait for a store as long as it takes on a busy machine. They are for
// tests that are about something else than the time after which a layer gives up. Memory is small, as ristretto
// clears its counters one by one when it is closed: with the race detector that takes longer than most tests.
func patientLocal(opts ...layer.LocalOption) layer.Decorator {
	return layer.Local(append([]layer.LocalOption{layer.LoadTimeout(longTimeout), layer.MaxBytes(4 << 20)}, opts...)...)
}

func patientCoalesced(opts ...layer.CoalescedOption) layer.Decorator {
	return layer.Coalesced(append([]layer.CoalescedOption{layer.WriteTimeout(longTimeout)}, opts...)...)
}

const longTimeout = 30 * time.Second

// stacks are each decorator alone, and in company.
func stacks(direct bool) map[string][]layer.Decorator {
	all := map[string][]layer.Decorator{
		"no decorator": {},
		"Local":        {patientLocal()},
		"Traced":       {layer.Traced()},
		"Coalesced":    {patientCoalesced()},
		"behind":       {patientCoalesced(layer.WriteBehind(5 * time.Millisecond))},
		"all":          {patientCoalesced(), patientLocal(), layer.Traced()},
		"all behind":   {patientCoalesced(layer.WriteBehind(5 * time.Millisecond)), patientLocal(), layer.Traced()},
		"strangers":    {strange, patientCoalesced(), strange, patientLocal(), strange, layer.Traced(), strange},
	}
	if direct {
		all["Snapshots"] = []layer.Decorator{layer.Snapshots()}
		all["Snapshots and all"] = []layer.Decorator{layer.Snapshots(), patientCoalesced(), patientLocal(), layer.Traced()}
		all["Snapshots and all indexed"] = []layer.Decorator{layer.Snapshots(), patientCoalesced(), patientLocal(), layer.Indexed(everybody), layer.Traced()}
		all["Snapshots and all behind"] = []layer.Decorator{layer.Snapshots(), patientCoalesced(layer.WriteBehind(5 * time.Millisecond)), patientLocal(), layer.Traced()}
		return all
	}
	all["Indexed"] = []layer.Decorator{layer.Indexed(everybody)}
	all["all indexed"] = []layer.Decorator{patientCoalesced(), patientLocal(), layer.Indexed(everybody), layer.Traced()}
	all["indexed low"] = []layer.Decorator{layer.Indexed(everybody), patientCoalesced(layer.WriteBehind(5 * time.Millisecond)), strange, patientLocal()}
	return all
}

// everybody has a session, whatever is in it.
func everybody(map[string]any) string { return "everybody" }

// TestConformance checks the ten laws for every store under every stack. Laws that a store makes
// impossible are excepted by name.
func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	for _, s := range subjects() {
		for name, decorators := range stacks(s.direct) {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				chain := func(t *testing.T, store gsession.Storage) gsession.Storage {
					c := layer.Chain(store, decorators...)
					t.Cleanup(func() {
						if err := c.Close(context.Background()); err != nil {
							t.Error(err)
						}
					})
					return c
				}
				opener := func(t *testing.T) func() gsession.Storage {
					if s.open == nil {
						folder := t.TempDir()
						return func() gsession.Storage { return gsession.NewStorageFile(folder, time.Hour) }
					}
					prefix := gsession.NewSessionId() // tests share the server
					return func() gsession.Storage { return s.open(t, server, prefix) }
				}
				opts := []layertest.Option{
					layertest.Revoked(layer.ErrRevoked),
					layertest.Reserved(layer.IndexedKey),
					layertest.Bare(func(t *testing.T) gsession.Storage { return opener(t)() }),
					layertest.Wrapped(func(t *testing.T, wrap func(gsession.Storage) gsession.Storage) gsession.Storage {
						return chain(t, wrap(opener(t)()))
					}),
				}
				if s.shared {
					opts = append(opts, layertest.Nodes(func(t *testing.T) (a, b gsession.Storage) {
						open := opener(t)
						return chain(t, open()), chain(t, open())
					}))
				}
				delayed := strings.Contains(name, "behind") || strings.Contains(name, "low")
				if delayed && (!s.direct || strings.HasPrefix(name, "Snapshots")) { // nothing is delayed over a direct store
					opts = append(opts, layertest.Deferred())
					if s.name != "redisstore" {
						opts = append(opts, layertest.Except(5, "two nodes", noAtomicCommit))
					}
				}
				if !strings.HasPrefix(name, "Snapshots") {
					opts = append(opts, s.opts...)
				} else {
					opts = append(append(opts, oneProcess...),
						layertest.Precision(time.Second),
						layertest.Except(1, "style", "Snapshots presents the other style"),
						layertest.Except(2, "nested values", "RedisHashTable keeps every value as text"),
						layertest.Except(2, "given maps", "RedisHashTable keeps every value as text"),
						layertest.Except(2, "nested changes", "RedisHashTable keeps every value as text"),
					)
				}
				layertest.Run(t, func(t *testing.T) gsession.Storage { return chain(t, opener(t)()) }, opts...)
			})
		}
	}
}
