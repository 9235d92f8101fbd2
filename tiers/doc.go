// Package tiers is the contract between the layers of a chain: the immutable [Snapshot] and the
// [Delta] that flow between them, the [Storage] capability that moves these, and the other
// capabilities that a layer may have.
//
//	GetSession  Load, then a map for the request that remembers its Snapshot
//	SetSession  Diff of the map against its Snapshot, then Commit of the Delta
//
// A storage without the capability is adapted, so that anybody's storage or decorator may stand
// anywhere in a chain.
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
//	StorageRedisHashTable     each key by itself, as the bare  a key written after the log-out  no: up to MaxStale late
//	                          store does                       makes a session of that key alone
//	HashTable + Snapshots()   merged under a lock per id       as StorageRedis                  no: up to MaxStale late
//
// A session without keys is no session: a request that loaded keys and finds an
// empty session at its commit is answered as if the session had been removed,
// because that is what a log-out through an older node leaves behind.
//
// A log-out followed by a new log-in under the same id is told apart from the old
// session within one chain. Across chains, of one process too, a request that loaded the old
// session adds the keys that it changed itself to the new one, never the keys that
// it loaded; call RegenerateId at log-in, as one should anyway.
package tiers
