// Package peers has what is measured: Strata, and what a user would take instead, each
// set up as its own documentation advises.
package peers

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// Prefix stands before each session id in Redis.
const Prefix = "bench:"

// PoolSize is what every client on go-redis may have of connections, as many as GoFrame's
// has by default, so that no request waits for one.
const PoolSize = 100

// TTL is how long sessions live in the bench.
const TTL = time.Hour

// Subject is one way to keep sessions. Its fields are set at construction.
type Subject struct {
	Name   string
	Setup  string // how it was set up, in a sentence for the report
	Strata bool   // ours: lost updates and stale results fail the run
	// Isolated is the claim that nothing handed out is shared. The load puts it to the
	// test, and the run fails where it doesn't hold.
	Isolated bool
	Redis    bool // keeps sessions in Redis
	Memory   bool // serves from the memory of the process
	HTTP     bool // is a storage that a ghttp server takes
	Direct   bool // reads and writes keys, not sessions: it has no map to hand out
	// Torn says that a session is empty, or half there, for a moment while it is written. Such results are
	// counted as stale; of any other subject they fail the run.
	Torn  bool
	Floor bool // no storage, but the least that something costs
	Open  func(Env) (Node, error)
}

// Env is where a subject finds its server and what it may use.
type Env struct {
	Addr         string        // of redis-server, or of a link to it
	Direct       string        // of redis-server itself, for what isn't measured
	Dir          string        // for files
	TTL          time.Duration // of sessions
	CacheTTL     time.Duration // of caches that know no other bound to what is stale
	CacheBytes   int64         // the memory that a cache may take, where it counts bytes
	CacheEntries int           // the same, where it counts entries
	Aged         bool          // sessions are seeded with half of their time to live left
}

// Node is a subject that runs. Its methods may be called from any goroutine.
type Node interface {
	// Begin is the start of a request of a session.
	Begin(ctx context.Context, id string) Request
	// Storage is what requests go through, nil where it is no gsession.Storage.
	Storage() gsession.Storage
	// Seed writes sessions as the subject keeps them, past its caches.
	Seed(ctx context.Context, ids []string, data func(id string) map[string]any) error
	// Misses is how many sessions the cache was asked for and didn't hold, by its own count;
	// false where there is no cache.
	Misses() (int64, bool)
	// Flush returns when all that was accepted is where it is kept.
	Flush(ctx context.Context) error
	Close() error
}

// Request is one request's session. It is one goroutine's.
type Request interface {
	// ID is the session's id; a new session may have another than was asked for.
	ID() (string, error)
	Get(key string) (any, error)
	Set(key string, value any) error
	// Clear logs the user out.
	Clear() error
	// Close ends the request; what it changed is kept.
	Close() error
}

// All is every subject of this module, in the order of the report.
func All() []Subject {
	return []Subject{
		strata(), strataAgain(), strataBehind(), strataTraced(),
		storageMemory(), storageFile(), storageRedis(), storageHashTable(),
		scsRedis(), rueidisCache(), byHandRistretto(), byHandOtter(),
		cloneFloor(), nothing(),
	}
}
