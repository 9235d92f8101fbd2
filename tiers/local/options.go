package local

import (
	"fmt"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// Option sets up a local tier. An impossible value panics when the option is made.
type Option func(*options)

type options struct {
	limits
	exclusive  bool
	guardSlots int
	sources    []tiers.InvalidationSource
	audited    float64 // of the hits
	restart    string  // the file
}

// limits are the options that may change while the tier runs. Those in use are immutable.
type limits struct {
	maxBytes    int64
	maxStale    time.Duration
	negative    time.Duration
	serveStale  time.Duration
	loadTimeout time.Duration
}

func defaults() options {
	return options{
		limits:     limits{maxBytes: 64 << 20, maxStale: time.Second, negative: time.Second, loadTimeout: time.Second},
		guardSlots: defaultGuardSlots,
	}
}

// MaxBytes bounds the memory that cached sessions take, in bytes; 64 MiB unless set.
// Their ids and keys count. On top come the guard and 4,096 absent ids, 3 MiB, and
// ristretto's counters. Memory keeps nothing that a request owns: a value that is a part of a form is
// copied, and so is an id, which is a part of a header.
func MaxBytes(n int64) Option {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxBytes(%d) holds no session; pass a positive number of bytes, or leave layer.Local() out", n))
	}
	return func(o *options) { o.maxBytes = n }
}

// Invalidation subscribes to a source of changes of the store, beside those that are found
// below: a redisstore with the same prefix for a chain over GoFrame's StorageRedis, or one of your own.
// The tier stops listening when it is closed; the source stays the caller's to close.
func Invalidation(source tiers.InvalidationSource) Option {
	if source == nil {
		panic("strata: layer.Invalidation needs a source; pass redisstore.New(client, redisstore.Prefix(prefix)), or leave it out")
	}
	return func(o *options) { o.sources = append(o.sources, source) }
}

// MaxStale bounds how long a session is served that no source vouches for: the longest
// time for which a write of another process may go unnoticed. 1 s unless set; 0 serves
// nothing of that kind from memory, and still shares a load among requests that come
// within 50 ms.
func MaxStale(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("strata: layer.MaxStale(%v) is negative; pass 0 to serve nothing from memory", d))
	}
	return func(o *options) { o.maxStale = d }
}

// ServeStale serves reads from memory when the store returns an error, or nothing within a
// tenth of LoadTimeout, for so long after the moment up to which the session was known to be current, and never past its
// expiry. Off unless set. Writes aren't helped: what such a request changed is merged
// into what the store holds when it is back, or refused.
//
// A log-out on another node isn't noticed meanwhile: choose a bound that allows for it.
func ServeStale(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.ServeStale(%v) serves nothing; pass a positive duration, or leave it out", d))
	}
	return func(o *options) { o.serveStale = d }
}

// LoadTimeout is how long a read waits for the store at most, also one that ignores its
// context; 1 s unless set.
func LoadTimeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.LoadTimeout(%v) leaves no time to read; pass a positive duration", d))
	}
	return func(o *options) { o.loadTimeout = d }
}

// Audited compares a part of the hits with the store, in the background; 0.001 is
// one in a thousand. Off unless set. The results are counted (strata.audit.reads,
// strata.audit.age); a difference that the tier's promises don't allow is logged, and the
// session is read anew. At most 64 hits wait to be compared; others are counted as skipped.
func Audited(fraction float64) Option {
	if !(fraction > 0 && fraction <= 1) {
		panic(fmt.Sprintf("strata: layer.Audited(%v) is no part of the hits; pass more than 0 and at most 1, or leave it out", fraction))
	}
	return func(o *options) { o.audited = fraction }
}

// WarmRestart saves at Close which sessions memory holds, in a file of the given path. The next
// process reads them again from the store when it starts, in batches and in the background, once
// a source vouches for memory: after a deployment they are in memory before most of their
// users come. Off unless set. Each process needs a path of its own.
//
// The file holds session ids and nothing else of a session. Each is a key to a session, so
// the file is as secret as the sessions' cookies: its mode is 0600, and it belongs in a folder
// that no other user can read. A process serves only sessions that it has read from the store
// itself, so laws 3, 4 and 6 don't rest on the file. It is bounded by MaxBytes. A damaged file
// is ignored, which the log says once; one that isn't a file of WarmRestart is left
// alone. If it can't be written, Close returns an error, and the earlier one stays.
//
// It is for stores that read several sessions together (redisstore), and needs a source of
// invalidations or Exclusive; without them nothing is read ahead.
func WarmRestart(path string) Option {
	if path == "" {
		panic("strata: layer.WarmRestart needs a file; pass a path such as /var/lib/app/sessions.warm, or leave it out")
	}
	return func(o *options) { o.restart = path }
}

// Negative is how long the tier remembers that there is no session of an id, for at
// most 4,096 ids; 1 s unless set, never longer than MaxStale unless Exclusive. 0
// turns it off.
func Negative(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("strata: layer.Negative(%v) is negative; pass 0 to remember no absent session", d))
	}
	return func(o *options) { o.negative = d }
}

// Exclusive says that this process is the store's only user, through this chain
// alone: sessions are then served until they expire or are written, without MaxStale.
// If the store doesn't return when a session expires (GoFrame's own don't), that
// holds for a ttl after a write, and MaxStale bounds the time after that.
//
// Put Coalesced below it: without it, the tier doesn't notice when a write is applied after its
// error, as may happen after a timeout.
//
// With a second process on the store, one of them serves sessions that the other has
// logged out.
func Exclusive() Option {
	return func(o *options) { o.exclusive = true }
}

// GuardSlots is the number of counters by which the tier knows which entries a write has
// invalidated, rounded up to a power of two; 262,144 unless set, at 8 bytes each. Sessions of this
// node that share one cost each other a reload: 4 % of 10,000. Writes of sessions that this node
// doesn't hold cost no reload, however many there are.
func GuardSlots(n int) Option {
	if n <= 0 || n > 1<<28 {
		panic(fmt.Sprintf("strata: layer.GuardSlots(%d) is out of range; pass 1 to 268,435,456, or leave it out", n))
	}
	return func(o *options) { o.guardSlots = n }
}
