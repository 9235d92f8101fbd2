package redisstore

import (
	"fmt"
	"time"
)

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
// object that never was a session.
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

// WatchLease is how long the storage vouches on from the last moment of which it knows that
// all changes before it were announced: what a listener serves from memory is never
// older than that while the connection hangs. The server is asked every quarter of it.
// Without the option it is DefaultLease. It panics outside 50 ms to 1 minute.
func WatchLease(d time.Duration) Option {
	if d < leastLease || d > mostLease {
		panic(fmt.Sprintf("strata: redisstore.WatchLease needs 50 ms to 1 minute, not %v; less can't be told from a slow network, and more keeps what is stale for too long", d))
	}
	return func(s *Storage) { s.lease = d }
}
