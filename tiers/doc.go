// Package tiers is the contract between the layers of a chain: the immutable [Snapshot] and the
// [Delta] that flow between them, the [Storage] capability that moves these, and the other
// capabilities that a layer may have.
//
//	GetSession  Load, then a map for the request that remembers its Snapshot
//	SetSession  Diff of the map against its Snapshot, then Commit of the Delta
//
// A storage without the capability is adapted, so that any storage or decorator may stand
// anywhere in a chain.
//
// # Capabilities
//
// A layer has a capability if it has the methods. [Find] looks for one in a chain; what is asked
// of the layer below alone must be passed on by each layer, as [Base] does.
//
//	capability          what it is for                                   looked for
//	Storage             snapshots and deltas in place of maps            below, adapted if it is missing
//	Batcher             commits of several sessions together             below, with BatcherOf
//	Reloader            loads of several sessions together               below, with ReloaderOf
//	Atomic() bool       compares and writes in one step                  below, with IsAtomic
//	Previewer           what values are like when they are read again    in the chain, with PreviewOf
//	Sharder             which node of the store has a session            in the chain, with ShardOf
//	InvalidationSource  notifies caches of changes of the store          in the chain, by each cache
//	InvalidationErrer   why an InvalidationSource doesn't at present     of a source
//	CommitFeed          notifies caches of commits in their order        in the chain, by each cache
//	ChangesSessions()   returns other sessions than the storage below    by each cache, above a CommitFeed
//	SlideLimiter        skips slides of the expiry                       in the chain
//	Adviser             what would work better otherwise                 in the chain
//	Report(to)          receives where to report                         passed down
//	Unwrap()            shows the storage below                          by all of the above
//	Flush, Close        accepted writes; goroutines and connections      by the chain, of its own layers
//
// # A decorator of one's own
//
// It embeds a Base and has methods for what it looks at or changes; layer.Around makes a layer of
// it, and has an Example. layer.Mapped is one that encrypts or compresses values. Test it with package
// layer/layertest.
//
// # What is promised for each kind of store
//
//	store                     delta commit                     log-out holds (law 6)            expiry known to caches
//	redisstore                atomic on the server             on every node                    to the millisecond
//	StorageRedis              merged under a lock per id of    in the process; another node's   no: up to MaxStale late
//	                          the process: a commit of another commit between the read and the
//	                          node in between is overwritten   write brings a session back
//	StorageFile               as StorageRedis                  as StorageRedis                  no: up to MaxStale late
//	StorageMemory             as StorageRedis, and there is    in the process                   no: up to MaxStale late
//	                          only one process
//	StorageRedisHashTable     each key by itself, as the bare  a key written after the log-out  nothing of it is cached
//	                          store does                       makes a session of that key alone
//	HashTable + Snapshots()   merged under a lock per id       as StorageRedis                  no: up to MaxStale late
//
// A session without keys is no session: the commit of a request that loaded keys and finds an
// empty session is refused as if the session had been removed, because that is what a log-out
// through an older node leaves behind.
//
// A log-out followed by a new log-in under the same id is distinguished from the old
// session within one chain. Across chains, of one process too, a request that loaded the old
// session adds the keys that it changed itself to the new one, never the keys that
// it loaded; call RegenerateId at log-in, as one should anyway.
package tiers
