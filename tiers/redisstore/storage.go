package redisstore

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// Storage is a snapshot storage on Redis: maps go in and out as a whole, per-key
// methods answer gsession.ErrorDisabled. It promises what the package's
// documentation says, starts goroutines only while it is watched, and is safe for
// concurrent use.
//
// client, owned, retries, prefix, lease, tracker and face are set at construction and guard
// themselves, as meter does; closed is guarded by once.
type Storage struct {
	client  redis.UniversalClient
	owned   bool // Open made the client
	retries int  // of a write
	prefix  string
	lease   time.Duration
	face    *sessionmap.Maps
	tracker *tracking.Tracker
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
	s := &Storage{client: client, retries: retriesOf(client), lease: DefaultLease}
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of redisstore is nil; pass what a constructor returns, such as redisstore.Prefix(redisstore.DefaultPrefix)")
		}
		opt(s)
	}
	s.tracker = tracking.New(client, s.prefix, s.lease)
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

// Close ends all watches, and closes the connections if Open
// made them, and nothing else. Calls that are under way, and later ones, fail then.
// Close again returns what the first call did.
func (s *Storage) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.closed = s.tracker.Close(ctx)
		if !s.owned {
			return
		}
		if err := s.client.Close(); err != nil {
			s.closed = fault.New(ctx, "Close", err)
		}
	})
	return s.closed
}

var _ tiers.InvalidationSource = (*Storage)(nil)

// Subscribe notifies the listener of the changes of sessions, whoever makes them, until stop is
// called or the storage is closed. A listener that comes while they are announced is told
// so at once. After stop has returned the listener isn't called again; calls that are under
// way are waited for.
//
// The connections are the storage's own, one for announcements and one to ask for each
// master, made for the first listener and closed with the last, with the client's options,
// RESP3 and time-outs of 2 to 3 s. The client's hooks aren't called, its OnConnect is.
//
// About every ten seconds, and before it vouches, the storage writes a key of its own under
// the prefix, a long random one with an empty value, on a new connection to each master, and
// deletes it at once to hear of it. That finds an address that leads to another server by
// now, and what stands between and keeps announcements to itself, or has connected anew
// without a word: each is noticed within ten seconds and a lease, and at once where the
// storage makes a connection. Sentinels are asked for the master about three times in a lease,
// each time with a connection to it that is closed at once.
//
// The storage's commands then take connections that were proven to lead to the server that
// announces. Reads of another store, which follows this one's announcements by
// layer.Invalidation, may go to a server that the address has left.
//
// A *redis.Client of redis.NewFailoverClient and a *redis.ClusterClient are asked where
// the masters are, so close the storage before the client. Of a cluster every master is
// watched, one without slots too, as a slot may be on its way to it; where that one can't
// be reached, nobody vouches meanwhile. Other clients, redis.Ring for one, and
// ClusterOptions.ClusterSlots, can't be watched: listeners are told Unsupported.
//
// Listeners are told Unsupported as well by a server without RESP3 or CLIENT TRACKING
// (Redis 6), or if it refuses CLIENT TRACKING or CLUSTER NODES, to this user or to all, or if
// it takes the password and yet nothing is vouched for within some seconds: it hangs, or
// hangs up, at CLIENT TRACKING, is full, is a replica, or no announcement arrives. A server
// that refused a command is asked again about every minute, another one about every ten seconds.
//
// The server announces keys whatever database they are in, so that another database's
// key of the same name is announced too. What the server does later, such as removing
// what has expired, is announced when it does it. Redis (7.0) doesn't announce SWAPDB:
// don't swap a database that holds sessions.
func (s *Storage) Subscribe(l tiers.InvalidationListener) (stop func()) {
	if isNil(l) {
		panic("strata: redisstore: Subscribe needs a listener")
	}
	return s.tracker.Subscribe(l)
}

// InvalidationErr is why nothing is announced at present: what went wrong last; nil while changes
// are announced or nobody listens, and before anything has.
func (s *Storage) InvalidationErr() error { return s.tracker.InvalidationErr() }
