package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// Storage is a snapshot storage on Redis: maps go in and out as a whole, per-key
// methods return gsession.ErrorDisabled. It promises what the package's
// documentation says, starts goroutines only while it is watched, and is safe for
// concurrent use.
type Storage struct {
	gsession.StorageBase // per-key methods return gsession.ErrorDisabled

	// client, owned, waits, retries, prefix, lease, tracker and face are set at construction and guard
	// themselves, as meter does; scriptless is atomic; closed is guarded by once.

	client     redis.UniversalClient
	owned      bool // the client is the storage's own
	waits      bool // for sentinels, without end
	retries    int  // of a write
	prefix     string
	lease      time.Duration
	face       *sessionmap.Maps
	tracker    *tracking.Tracker
	meter      *telemetry.Store
	scriptless atomic.Bool // the server has refused a script, and taken a transaction

	once   sync.Once
	closed error
}

var (
	_ tiers.Storage            = (*Storage)(nil)
	_ tiers.Batcher            = (*Storage)(nil)
	_ tiers.Reloader           = (*Storage)(nil)
	_ tiers.Previewer          = (*Storage)(nil)
	_ tiers.Sharder            = (*Storage)(nil)
	_ tiers.InvalidationSource = (*Storage)(nil)
	_ tiers.Adviser            = (*Storage)(nil)
)

// New makes a storage on a client, which stays the caller's to close. It panics on
// a nil client, on one that reads from replicas, on a redis.Ring, and under a GoFrame whose maps can't be followed.
//
// Give the client time-outs (its DialTimeout, DialerRetries and MaxRetries multiply, to
// 100 s by default), and ContextTimeoutEnabled: without it go-redis doesn't
// look at a context's deadline while a command is under way. In either case it
// doesn't look at a cancellation then, so that the read time-out bounds a call.
func New(client redis.UniversalClient, opts ...Option) *Storage {
	if value.IsNil(client) {
		panic("strata: redisstore.New needs a client; write redisstore.New(redis.NewClient(&redis.Options{Addr: ...})), or redisstore.Open(url)")
	}
	switch c := client.(type) {
	case *redis.Ring:
		panic("strata: redisstore.New can't use a redis.Ring, which has sessions on another server while theirs is away, so that log-outs are undone when it is back; use a cluster, or sentinels")
	case *redis.ClusterClient:
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

// Option sets up a storage. Options are applied in order.
type Option func(*Storage)

// DefaultPrefix is the prefix to choose where nothing else is in use yet:
//
//	redisstore.New(client, redisstore.Prefix(redisstore.DefaultPrefix))
//
// It isn't in force unless it is asked for, since StorageRedis has none unless it
// is asked for, and both must find the same keys. A program that starts afresh, or
// shares the database with anything else, should have one: GoFrame adopts the
// session id that a client sends, and without a prefix that id can name any key of
// the database. A client could then move its expiry, delete it, or be served a JSON
// object that never was a session. For the same reason no application's prefix may be the
// beginning of another's: the id admin:1 under shop: is the id 1 under shop:admin:.
const DefaultPrefix = "gsession:"

// Prefix is put before the session id to make the key; there is none unless set. To
// share sessions with gsession.StorageRedis, pass what it was given. In a cluster
// a prefix with a {tag} puts all sessions on one node.
func Prefix(prefix string) Option {
	return func(s *Storage) { s.prefix = prefix }
}

const (
	// DefaultLease is the lease without WatchLease.
	DefaultLease = 500 * time.Millisecond

	leastLease, mostLease = 50 * time.Millisecond, time.Minute
)

// WatchLease is how long memory may serve sessions after the last moment up to which the storage has received
// all notifications: while the connection hangs, nothing older than that is served. The server is pinged four
// times in a lease. DefaultLease unless set. It panics outside 50 ms to 1 minute.
func WatchLease(d time.Duration) Option {
	if d < leastLease || d > mostLease {
		panic(fmt.Sprintf("strata: redisstore.WatchLease needs 50 ms to 1 minute, not %v; less can't be distinguished from a slow network, and more keeps what is stale for too long", d))
	}
	return func(s *Storage) { s.lease = d }
}

// Style is that of a snapshot storage.
func (s *Storage) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

// Atomic says that a commit compares and writes in one step on the server.
func (s *Storage) Atomic() bool { return true }

// over is a context that has ended, for what is asked without the network.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Shard is the address of the master that has the session, as the client of a cluster
// knows it; elsewhere there is one server.
func (s *Storage) Shard(id string) string {
	key, err := s.key(id)
	if err != nil {
		return ""
	}
	return s.masterOf(key)
}

func (s *Storage) masterOf(key string) string {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return ""
	}
	master, err := cluster.MasterForKey(over, key)
	if err != nil {
		return ""
	}
	return master.Options().Addr
}

// forGood makes the error of a write match tiers.ErrClosed if the user's client is closed. A cluster's client also
// closes the clients of nodes that have left, and has others then.
func (s *Storage) forGood(id string, err error) error {
	if !errors.Is(err, redis.ErrClosed) {
		return err
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		key, _ := s.key(id)
		master, failed := cluster.MasterForKey(over, key)
		if failed == nil {
			failed = master.Ping(over).Err() // without the network
		}
		if !errors.Is(failed, redis.ErrClosed) {
			return err
		}
	}
	return tiers.NewError(err.Error(), errors.Join(tiers.ErrClosed, err))
}

// GetSession returns the session as a map that is the caller's alone (law 2), nil
// where there is none.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return s.face.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since GetSession handed it out
// (law 5), or the whole of a map that it didn't. It returns tiers.ErrRevoked where
// the session is gone (law 6).
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	return s.face.SetSession(ctx, id, data, ttl)
}

// UpdateTTL sets the session's expiry to ttl from now. Unlike StorageRedis, it does
// so at once, and for a ttl below 10 s as well.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

// RemoveAll removes the session. Once it has returned, no request that loaded the
// session before brings its data back (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	o := s.begin()
	defer o.end(ctx, telemetry.RemoveAll)
	err := o.remove(ctx, id)
	o.done(err)
	return s.forGood(id, err)
}

// Load reads the session and its remaining time in one round trip. An absent key,
// an empty value and "null" are no session. The snapshot knows when it expires, and
// its version is the digest of the value. ttl isn't looked at.
func (s *Storage) Load(ctx context.Context, id string, _ time.Duration) (tiers.Read, error) {
	o := s.begin()
	defer o.end(ctx, telemetry.Load)
	read, err := o.load(ctx, id)
	o.done(err)
	return read, err
}

// Slide sets the session's expiry to ttl from now, and returns the moment; the zero
// time where there is no session. It neither reads nor judges what the key holds.
func (s *Storage) Slide(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	o := s.begin()
	defer o.end(ctx, telemetry.Slide)
	until, err := o.slide(ctx, id, ttl)
	o.done(err)
	return until, err
}

// Commit merges the delta into what the server holds, atomically there. It takes
// one round trip if nothing was written since the delta's base was read, and one
// more for each write that came in between, until ctx ends. A delta that replaces
// the session takes one, and an empty one only slides the expiry.
//
// Where the server refuses scripts it takes two round trips in place of one: WATCH, GET, and a transaction, for
// which the client's hooks aren't called while invalidations arrive, nor if it has a Limiter. It fails there through a client
// of another type than go-redis' own.
//
// After a fault of the network the commit is sent again, as often as the client's MaxRetries says. Where
// the reply to an attempt was lost, what follows is conditional: see [tiers.ErrConflict].
//
// The snapshot doesn't differ from what a Load reads: what was set is encoded and decoded
// once, before anything is sent, and what that gives is written. It is nil for an empty
// delta, and where there was nothing to write. Where a value can't be encoded, or couldn't
// be decoded again, the caller gets the error and the session keeps what it had.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	o := s.begin()
	defer o.end(ctx, telemetry.Commit)
	snapshot, err := o.commit(ctx, id, delta, ttl)
	o.done(err)
	return snapshot, s.forGood(id, err)
}

// CommitAll sends the first attempt of every commit in one pipeline, one for each
// node of a cluster. A commit that loses against another node's write goes on alone,
// as one does that only slides an expiry.
func (s *Storage) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	o := s.begin()
	defer o.end(ctx, telemetry.CommitAll)
	results := o.commitAll(ctx, commits)
	o.done(failure.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
	for n := range results {
		results[n].Err = s.forGood(commits[n].ID, results[n].Err)
	}
	return results
}

// LoadAll reads the sessions in one pipeline, one for each node of a cluster. A session
// that is still the known one isn't decoded again.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	o := s.begin()
	defer o.end(ctx, telemetry.LoadAll)
	results := o.loadAll(ctx, loads)
	o.done(failure.BatchFailure(results, func(r tiers.Reloaded) error { return r.Err }))
	return results
}

// Preview returns the values as a Load will, or why they can't be encoded.
func (s *Storage) Preview(data map[string]any) (map[string]any, error) {
	return tiers.PreviewJSON(data)
}

// Report says where to report how long operations take.
func (s *Storage) Report(to *telemetry.Sink) { s.meter.Report(to) }

// Subscribe notifies the listener of changes of sessions, by this program and by others, until stop is
// called or the storage is closed. A listener that is added while invalidations arrive gets
// InvalidateAll and ValidUntil at once. stop waits for calls that are under way; after it has returned
// the listener isn't called again.
//
// The storage makes connections of its own for the first listener and closes them with the last: two to
// each master, one for invalidations and one for questions. They have the client's options, RESP3 and
// time-outs of 2 to 3 s. The client's OnConnect is called, its hooks aren't.
//
// Before the first ValidUntil, and about every ten seconds after that, the storage writes a key of its
// own under the prefix (a long random name, an empty value) on a new connection to each master, and
// deletes it at once, to receive its invalidation. So it notices an address that leads to another server,
// and a proxy that drops invalidations or has reconnected silently, within ten seconds and a lease, and
// at once when the storage makes a connection. Sentinels are asked for the master about three times in a
// lease, on the connection that the client keeps to one of them; a Dialer of the client's is called with
// the network "unix" for that, and needn't connect.
//
// The storage's commands then use connections that were tested to lead to the server that sends the
// invalidations. Reads of another store that follows this one by layer.Invalidation may go to a server
// that the address has left.
//
// A *redis.Client of redis.NewFailoverClient and a *redis.ClusterClient are asked where the masters are,
// so close the storage before the client. Every master of a cluster is watched, also one without slots,
// as a slot may be moving to it; while one can't be reached, nothing is valid. Clients of other types, and
// clients with ClusterOptions.ClusterSlots, can't be watched: listeners get Unsupported.
//
// Where CLIENT TRACKING or RESP3 is refused (Redis 6 has both), or no invalidation arrives for some seconds, keyspace
// notifications take their place, if the server's notify-keyspace-events has K, g, $, x and e, until CLIENT TRACKING works,
// which is tried about every minute. A key of the
// storage's own shows then within a lease that all keys were removed. Don't change notify-keyspace-events while a
// program runs: it shows within about ten seconds, and not at all if it is set again sooner. A server that is full can't be tested; behind a proxy that hides several
// servers, sixteen keys are tested at first and one each ten seconds. Listeners get Unsupported if neither arrives, if CLUSTER NODES is refused, and if the server
// has never notified and is full or a replica. One that refused a command and has never notified is asked again about every minute,
// another one about every ten seconds.
//
// The server doesn't distinguish databases in invalidations, so that a key of the same name in another
// database counts too. A change that the server makes late, such as the removal of an expired key,
// invalidates when it is made. SWAPDB invalidates nothing (Redis 7.0): don't swap a database that holds
// sessions.
func (s *Storage) Subscribe(l tiers.InvalidationListener) (stop func()) {
	if value.IsNil(l) {
		panic("strata: redisstore: Subscribe needs a listener")
	}
	return s.tracker.Subscribe(l)
}

// InvalidationErr is why no invalidations arrive at present: what went wrong last; nil while they
// do or there are no listeners, and before anything has.
func (s *Storage) InvalidationErr() error { return s.tracker.InvalidationErr() }

// Indexer is the index beside the sessions.
func (s *Storage) Indexer() principals.Index { return &index{Storage: s} }

// Advise looks at the client's options and, by one INFO and one EVAL, at the server.
func (s *Storage) Advise(ctx context.Context) []tiers.Advice {
	return advise(ctx, s.client, s.prefix, s.waits)
}

// command is a *redis.Cmd, or holds one: only its Result distinguishes a reply from none.
type command interface {
	redis.Cmder
	Result() (any, error)
}

// Close ends all watches, and closes the connections if they are the storage's own, and nothing else. Calls that are under way, and later ones, fail then.
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

// begin returns an operation, whose end is to be deferred.
func (s *Storage) begin() *operation { return &operation{Storage: s} }

// key is the session's key on the server. Any bytes make a key of their own.
func (s *Storage) key(id string) (string, error) {
	if err := tiers.CheckID(id); err != nil {
		return "", err
	}
	return s.prefix + id, nil
}

// roundTrip sends the commands together. Each has a reply or an error afterwards: go-redis
// leaves the commands of a pipeline without either if its connection can't be set up, by a
// wrong password for one, and a client's hook may keep an error to itself. A command that
// wasn't executed must never look like a session that isn't there.
func (s *Storage) roundTrip(ctx context.Context, commands ...command) {
	replied(commands, s.tracker.Send(ctx, cmders(commands)...))
}

func cmders(commands []command) []redis.Cmder {
	all := make([]redis.Cmder, len(commands))
	for n, c := range commands {
		all[n] = c
	}
	return all
}

// replied gives each of the commands that were sent together with this result a reply or an error.
func replied(commands []command, err error) {
	for _, c := range commands {
		value, own := c.Result()
		if value == nil && own == nil {
			own = cmp.Or(err, fault.ErrReply)
		}
		c.SetErr(fault.Inner(own))
	}
}
