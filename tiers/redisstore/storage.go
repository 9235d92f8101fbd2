package redisstore

import (
	"context"
	"reflect"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Storage is a snapshot storage on Redis: maps go in and out as a whole, per-key
// methods answer gsession.ErrorDisabled. It promises what the package's
// documentation says, starts goroutines only while it is watched, and is safe for
// concurrent use.
//
// client, owned, retries, prefix, paths and face are set at construction and guard
// themselves, as source and meter do; closed is guarded by once.
type Storage struct {
	client  redis.UniversalClient
	paths   *paths
	owned   bool // Open made the client
	retries int  // of a write
	prefix  string
	face    *sessionmap.Maps
	source  source
	meter   *telemetry.Store

	once   sync.Once
	closed error
}

var _ tiers.Storage = (*Storage)(nil)

// New makes a storage on a client, which stays the caller's to close. It panics on
// a nil client, and on one that reads from replicas.
//
// Give the client time-outs, and ContextTimeoutEnabled: without it go-redis doesn't
// look at a context's deadline while a command is under way. In either case it
// doesn't look at a cancellation then, so that the read time-out bounds a call.
func New(client redis.UniversalClient, opts ...Option) *Storage {
	if isNil(client) {
		panic("strata: redisstore.New needs a client; write redisstore.New(redis.NewClient(&redis.Options{Addr: ...})), or redisstore.Open(url)")
	}
	if c, ok := client.(*redis.ClusterClient); ok {
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			panic("strata: redisstore.New needs a client that reads from masters; leave ReadOnly, RouteByLatency, RouteRandomly and ReplicaOnly out of its options")
		}
	}
	s := &Storage{client: client, paths: newPaths(client), retries: retriesOf(client)}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of redisstore is nil; pass what a constructor returns, such as redisstore.Prefix(redisstore.DefaultPrefix)")
		}
		opt(s)
	}
	s.face = sessionmap.New(s)
	s.meter = telemetry.NewStore(s)
	return s
}

// Report says where to report how long operations take.
func (s *Storage) Report(to *telemetry.Sink) { s.meter.Report(to) }

// isNil sees through an interface that holds a nil pointer.
func isNil(client any) bool {
	v := reflect.ValueOf(client)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// Style is that of a snapshot storage.
func (s *Storage) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

// over is a context that has ended, for what is asked without the network.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Shard is the address of the master that has the session, as the client of a cluster
// knows it; elsewhere there is one server.
func (s *Storage) Shard(id string) string {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return ""
	}
	key, err := s.key(id)
	if err != nil {
		return ""
	}
	master, err := cluster.MasterForKey(over, key)
	if err != nil {
		return ""
	}
	return master.Options().Addr
}

var _ tiers.Sharder = (*Storage)(nil)

// Atomic says that a commit compares and writes in one step on the server.
func (s *Storage) Atomic() bool { return true }

// Close ends all watches, as Watcher's Close does, and closes the connections if Open
// made them, and nothing else. Calls that are under way, and later ones, fail then.
// Close again returns what the first call did.
func (s *Storage) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.closed = s.source.close(ctx)
		if !s.owned {
			return
		}
		if err := s.client.Close(); err != nil {
			s.closed = fault(ctx, "Close", err)
		}
	})
	return s.closed
}
