// Package redisstore keeps sessions in Redis or Valkey, alone, in a cluster or
// behind sentinels, as the innermost storage of a chain.
//
// # Beside GoFrame's StorageRedis, and back
//
// Keys and values are byte for byte those of gsession.StorageRedis: the session as a JSON object under
// prefix+id. Two things differ in bytes and read the same. Structs, raw JSON and bytes that aren't UTF-8 are
// written at once as StorageRedis writes them from the session's next change on, with sorted fields. A
// session that begins under an id which was logged out on this node ends in white space. Old and new nodes
// work side by side on the same sessions, and no user is logged out on the way here or back. An old node
// keeps its faults: its commit overwrites what came in between, a new node's doesn't.
//
// # What it promises
//
// Laws are those of package layer; the store alone gives:
//
//   - No lost update (5): a commit is one compare-and-set on the server, of one key,
//     so that a cluster takes it. Overlapping commits all survive.
//   - No resurrection (6), on any node: a session that was loaded and has been
//     removed or has expired since isn't created again; the commit returns
//     tiers.ErrRevoked.
//   - Time to live (8): kept to the millisecond; a part of one counts as one. A read
//     learns the remaining time in the same round trip, and doesn't take it for longer
//     than it is, unless a write that comes in between shortens it. Every write
//     carries its time to live with it.
//   - Private (10): error texts name the operation and the kind of fault, such as
//     "strata: redis: GET: WRONGTYPE", and neither id, key nor content. The errors
//     that they wrap may hold more.
//
// A write that ends in an error, or in the end of its context, may have been applied or may yet be: a server
// that hangs runs it when it wakes. A further attempt is made on the condition of what the server holds by
// then (tiers.ErrConflict). tiers.MayBeApplied reports which errors leave this open. Law 6 still holds for
// what a request had loaded, since the comparison is made when the write is run.
//
// # Which server is asked
//
// Reads go to masters: a replica may be behind a write that has returned (laws 3 and
// 4). New panics where a client shows that it reads from replicas
// (redis.ClusterOptions.ReadOnly, RouteByLatency and RouteRandomly). A client made
// with redis.FailoverOptions.ReplicaOnly, or gredis.Config.SlaveOnly, doesn't show
// it: don't pass one; its first write fails with READONLY.
//
// New panics on a redis.Ring as well. While a server of one is away, its sessions begin anew on
// another, and a log-out there is undone when it is back (laws 5 and 6).
//
// Where a master of a cluster sends no reply for a second, the client asks in the background who has
// which slots: a replica that has taken over from one that hangs or has vanished serves its sessions then.
//
// A master confirms a write before its replicas have it. A replica that takes over, in a
// cluster or by a sentinel's choice, may lack writes that were acknowledged, a log-out or
// a log-in among them, and so may a server that is started again without appendonly and
// appendfsync always. No node can keep what Redis itself loses, nor law 7: the nodes
// follow what the new master holds. WAIT and min-replicas-to-write make the loss rarer.
//
// The server must allow GET, GETRANGE, SET, DEL, PTTL and PEXPIRE, EVAL and EVALSHA or else WATCH,
// MULTI, EXEC and DISCARD, and for invalidations HELLO 3, CLIENT TRACKING, PING and, in a cluster, CLUSTER NODES. A server without HELLO 3 or CLIENT
// TRACKING sends them as keyspace notifications, if notify-keyspace-events is Kg$xe or KA. The tests run on
// Redis 7.0, and were run on Redis 6.0 and 8.0 and on Valkey 8.0. In Redis 6 CLIENT is one of the
// dangerous commands: a user without those needs +client|tracking there. With a maxmemory policy
// that evicts, Redis logs users out as it likes: choose noeviction.
package redisstore
