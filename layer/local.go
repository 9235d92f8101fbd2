package layer

import (
	"fmt"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/local"
)

// LocalOption sets up Local.
type LocalOption = local.Option

// InvalidationSource notifies of changes of a store, as redisstore does; see [tiers.InvalidationSource].
type InvalidationSource = tiers.InvalidationSource

// Local keeps sessions in the memory of the process, so that a request that reads a
// session which this node knows costs no round trip. Nothing is served that a write
// of this node has invalidated (law 3), or that has expired in the store (law 8). The calls of a direct
// store are passed on as they are, see Snapshots.
//
// Where a layer below notifies of changes, as redisstore does, a session is served until it is
// invalidated, by a write of any client, and only while invalidations are known to arrive: not
// at all before they do, and not for longer than [redisstore.WatchLease] after they have
// stopped (law 4). The state that this node has written itself is served on while the
// invalidation for it is looked into, one round trip. Elsewhere, and on servers that can't
// notify, MaxStale bounds what is served; and so it does, notified or not, over stores that
// don't say when a session expires, as GoFrame's own don't: an own write is read anew there by
// the next request.
//
// Memory is bounded by MaxBytes. The chain's Close stops its goroutines.
func Local(opts ...LocalOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return local.New(inner, opts...) }
}

// MaxBytes bounds the memory that cached sessions take, in bytes; 64 MiB unless set.
// Their ids and keys count. On top come the guard, a 32nd of n or up to twice that, 2 to 32 MiB, 4,096 ids that are
// known to have no session, 1 MiB, and ristretto's counters. Memory keeps nothing that a request owns: a value that is a part of a
// form is copied, and so is an id, which is a part of a header.
func MaxBytes(n int64) LocalOption {
	if n <= 0 {
		panic(fmt.Sprintf("strata: layer.MaxBytes(%d) holds no session; pass a positive number of bytes, or leave layer.Local() out", n))
	}
	return func(o *local.Options) { o.MaxBytes = n }
}

// Invalidation has a source notify of changes in the store, beside the sources that Local
// finds below it: redisstore.New(client, redisstore.Prefix(prefix)) for a chain over GoFrame's StorageRedis,
// or one of your own. A source notifies at once of a change that MaxStale would let pass; where
// the store doesn't say when a session expires, MaxStale bounds what is served all the same.
// Close the chain before the source, which stays the caller's to close.
func Invalidation(source InvalidationSource) LocalOption {
	if source == nil {
		panic("strata: layer.Invalidation needs a source; pass redisstore.New(client, redisstore.Prefix(prefix)), or leave it out")
	}
	return func(o *local.Options) { o.Invalidations = append(o.Invalidations, source) }
}

// MaxStale bounds how long memory serves a session while no source vouches for it: a write of another
// process may go unnoticed for so long; 1 s unless set. 0 serves no such session from memory, and still
// shares a load among requests that come within 50 ms. That an id has no session is known for so long at most,
// whatever vouches.
func MaxStale(d time.Duration) LocalOption {
	if d < 0 {
		panic(fmt.Sprintf("strata: layer.MaxStale(%v) is negative; pass 0 to serve nothing from memory", d))
	}
	return func(o *local.Options) { o.MaxStale = d }
}

// LoadTimeout is how long a read waits for the store at most, also for a store that ignores its context;
// 1 s unless set. After reads of several sessions in a row have timed out, further reads are refused at
// once, and the store is asked again every 250 ms.
func LoadTimeout(d time.Duration) LocalOption {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.LoadTimeout(%v) leaves no time to read; pass a positive duration", d))
	}
	return func(o *local.Options) { o.LoadTimeout = d }
}

// ServeStale has memory serve a session if the store returns an error, or nothing within a tenth of
// LoadTimeout. It does so for d after the session was last known to be current, and never past its
// expiry; of a store that returns none, not for longer than its ttl after memory last read it. Off unless set. A change by such a request is merged into the store's session once the store
// works again, or refused. A log-out on another node isn't noticed meanwhile: choose d accordingly.
func ServeStale(d time.Duration) LocalOption {
	if d <= 0 {
		panic(fmt.Sprintf("strata: layer.ServeStale(%v) serves nothing; pass a positive duration, or leave it out", d))
	}
	return func(o *local.Options) { o.ServeStale = d }
}

// Audited compares a part of the hits with the store in the background: 0.001 is one in a thousand. Off
// unless set. Results are counted in strata.audit.reads. A difference that [Local] doesn't allow is
// logged, its age is recorded in strata.audit.age, and the session is read anew. At most 64 hits wait to
// be compared; further ones are counted as skipped.
func Audited(fraction float64) LocalOption {
	if !(fraction > 0 && fraction <= 1) {
		panic(fmt.Sprintf("strata: layer.Audited(%v) is no part of the hits; pass more than 0 and at most 1, or leave it out", fraction))
	}
	return func(o *local.Options) { o.Audited = fraction }
}

// WarmRestart has Close save the ids of the sessions in memory in a file. The next process reads these
// sessions in batches after its start, so that they are in memory before most of their users come. Off
// unless set. Each process needs a path of its own.
//
// The file holds session ids and nothing else of a session. It is as secret as the cookies: its mode is
// 0600, and it belongs in a folder that no other user can read. A session is served only after the new
// process has read it from the store (laws 3, 4 and 6). MaxBytes bounds the file. A damaged file is
// logged and ignored; a file of another program is left alone. If the file can't be written, Close
// returns an error, the earlier file stays, and nothing else is lost.
//
// It needs redisstore, and invalidations that arrive or Exclusive; without them nothing is read ahead.
func WarmRestart(path string) LocalOption {
	if path == "" {
		panic("strata: layer.WarmRestart needs a file; pass a path such as /var/lib/app/sessions.warm, or leave it out")
	}
	return func(o *local.Options) { o.WarmRestart = path }
}

// Exclusive says that this process is the store's only user, through this chain alone, so that MaxStale
// isn't needed. With a second process on the store, one of them serves sessions that the other has
// logged out.
//
// Put Coalesced below Local: without it, Local doesn't notice a write that is applied after it returned
// an error, as may happen after a timeout.
//
// If the store doesn't return when a session expires, as GoFrame's own stores don't, MaxStale applies
// again once a ttl has passed since the last write.
func Exclusive() LocalOption { return func(o *local.Options) { o.Exclusive = true } }
