// Package layer puts layers on a GoFrame session store: memory in front of it, merged writes, tracing, and an
// index of whose the sessions are. A team keeps the store it has and writes
//
//	chain := layer.Chain(store, layer.Coalesced(), layer.Local(), layer.Traced())
//	server.SetSessionStorage(chain) // or gsession.New(ttl, chain)
//
// and its handlers go on as they are: the chain is a full gsession.Storage, returns what
// its store would, and keeps its store's style. The first decorator is the
// innermost:
//
//	Chain(s, A, B) is B(A(s))
//
// # What a chain promises
//
//  1. Transparent: without faults it returns what its store would.
//  2. Isolated: nothing that it hands out is shared, nested values included.
//  3. Read your writes: a write that has returned is seen by every later read of the node.
//  4. Fresh: another node's write is seen within a round trip where the store notifies of
//     changes, as redisstore does, and within MaxStale elsewhere.
//  5. No lost update: overlapping requests that change different keys both survive.
//  6. No resurrection: after RemoveAll, no request that loaded the session before brings it back.
//  7. No silent loss: a write that returned nil is in the store, or held, retried and
//     reported if it can't be delivered.
//  8. Time to live: never served past the store's expiry; milliseconds are kept.
//  9. Bounded: memory and goroutines have stated limits; after Close nothing runs on.
//  10. Private: no session id, key or value in spans, metrics, logs or error texts.
//
// # Between nodes
//
// These hold over a store that notifies of its changes, for a read that starts at a moment t. All moments are of one
// clock; no two machines need agree on the time.
//
//   - The node sees a write of its own that had returned before t.
//   - It sees another node's write that had returned before t as soon as its invalidation has arrived. If the node has
//     written the session itself, or slid its expiry, within the second before, it sees the other write a read of the
//     store later, 100 ms at most.
//   - Whatever goes wrong, it sees another node's write that had returned a lease before t (see
//     [redisstore.WatchLease]; the time in which a process is woken comes on top). There are three exceptions. If the
//     address has come to lead to another server, or through another connection, while older connections stay open (a
//     virtual IP, a relay), that is noticed within ten seconds and a lease. Redis sends no invalidations for SWAPDB, so
//     no database with sessions may be swapped. The process's monotonic clock stands still while a virtual machine is
//     suspended: afterwards the rest of the lease may be served once.
//   - If a commit of the node returns late, and another state was read there meanwhile, memory doesn't show the
//     commit's state, as the other one may be newer.
//   - Reads at two nodes may see two writes at different moments. On one node the history of a session that no other
//     node writes is linearizable.
//   - A log-out holds on every node within the same limits, and for good: later writes of a request that had loaded the
//     session are refused, on any node. If a session has begun anew under the same id, only the node that logged out
//     distinguishes the two: a request on another node adds the keys that it changed to the new one. Call RegenerateId
//     at log-in.
//
// bench/nodes checks this with real processes, servers and faults. No layer can keep a write that a
// server acknowledges and then loses, as an asynchronous replica that takes over may.
//
// The table of package tiers says which laws a store makes impossible.
//
// # Session ids
//
// GoFrame adopts the id that a client sends. No session has an id that is longer than 512 bytes
// ([tiers.MaxID]), or, over StorageFile, that can't name a file. Under such an id a read finds no session, so
// that the visitor sees an anonymous page, and a write is refused with an error that says so. A request that
// brought such an id may call RegenerateId, and goes on under the new one.
package layer
