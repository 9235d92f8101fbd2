// Nodes runs many node processes on one real Redis, makes the faults that happen in
// production, and checks the result of every read, in the way of Meta's Polaris.
// It exits with status 1 if one of them broke a law, and with -strict also if a figure
// isn't reached that an idle machine reaches.
//
//	go run ./nodes                       # ten minutes, three topologies, all faults
//	go run ./nodes -topology standalone -duration 1m -faults cut,deaf -seed 7
//
// Each node is a process with a full chain: redisstore, Coalesced, Local, Traced. One's clock is an hour
// ahead, and another's an hour behind (-skew). One of them may run neither scripts nor CLIENT TRACKING: it
// commits by transactions beside the others' scripts, and follows keyspace notifications. Users
// with a Zipf-distributed share of the requests read, change, log out and log in at any
// node. Programs without Strata write too: whole values as redis-cli does, and a bare
// GoFrame StorageRedis. A crowd at each node meets those of the others at three sessions, in
// bursts without a pause. The driver cuts each node's connections, keeps back what it sends
// or is sent, or only what it is sent (deaf), delays each piece of it (jitter), has its connections go on with new ones
// to the servers without a sign (redial), stops it with
// SIGSTOP, kills, restarts and hangs the server, has it refuse writes, for a moment or for
// seconds (outage, full), forces failovers, kills masters behind Sentinel and in a cluster, restarts all
// masters of a cluster in turn (rolling), moves slots and lets some linger on their way to a master that
// had none. An operator pauses clients (clientpause), takes rights away and gives them back (rights),
// removes all keys (flush), has a server evict some (evict), and starts it again with files of a moment before (rewind).
//
// # The contract that is checked
//
// All moments are of CLOCK_MONOTONIC, one clock for all processes of the machine. An
// operation starts before the node calls its session and ends after the call has
// returned, in the node process itself; where the node was stopped in between, that is
// so much longer. "Before" means that one had ended when the other started.
//
// A session has a value that names its log-in, one key of each writer with a version that
// only this writer counts up, and one key that all of them write. For every read that
// starts at t on a node N, and for the log-in that it shows:
//
//   - Read your writes: it shows every change, log-in and log-out that N had acknowledged
//     before t. There is no bound on this one: its age is 0.
//   - Fresh: it shows every one that any node had acknowledged before t - bound, foreign
//     programs included. The bound is the lease of the invalidations (redisstore.WatchLease)
//     and 50 ms of slack, whatever goes wrong; ten seconds more after a silent redial.
//   - Fresh without faults: each round begins with a quiet time, in which the bound is that
//     of an invalidation and of a read of the store after it: 150 ms, and twice the worst
//     stall of a PING on a node's way to a server, which is what a busy machine adds. Where
//     a stall was longer than 100 ms that time isn't judged.
//   - Never went back: of two reads at N that don't overlap, the later shows nothing older than
//     the earlier did, however young: no older version of a key, no log-in again after another
//     state or a later one, and not none after a log-in that was not ended. (In rounds
//     without a failover.)
//   - No resurrection: after a log-out was acknowledged, the log-in that it ended is shown
//     by no read beyond those two limits, nor is data without a log-in. A change that was
//     refused, or that was made on the node which logged out, is in no later log-in.
//   - No lost session: a read finds none only where none was due by those two limits, or a
//     log-out came after it, or may have.
//   - Not beyond its time: a session that lives for a second is shown by no read that starts
//     a second and a tenth, which a slide may add, and the bound after the last use ended;
//     and it isn't lost before a second has passed since its last acknowledged change began.
//   - The later commit wins: of two writes to the shared key one of which ended before the
//     other started, the earlier isn't shown once the later is due.
//   - Nothing invented: what it shows was written, by a write that started before it ended.
//
// And for what the masters hold when all is quiet, read without any cache:
//
//   - No lost update: every writer's key holds at least its last acknowledged version, and
//     the shared key a write that no acknowledged one came after.
//   - No resurrection: a session that was logged out isn't there.
//   - Agreement: what they have held for longer than the bound is what every node shows.
//
// FLUSHDB counts as a log-out, by another program, of every session that was there, and an eviction as
// one that may have ended any. The changes that a rewind has undone count as those which servers lose by a failover.
//
// On one node this is linearizability: the histories of sessions that one node alone uses,
// all its workers at once, are checked for it with porcupine as well. Across nodes it is
// weaker: reads at two nodes may see two writes at different moments, and a node may see
// another's write later than a third one does, both within the bound.
//
// A write that ended with an error or a time-out may have been applied, or not, or may be
// later: it needn't be seen, and may. One that got ErrRevoked was applied, if at
// all, by an earlier attempt whose reply got lost, and is gone with the session.
//
// If a law is broken, the whole history of the sessions concerned is written to a folder that
// the report names: the operations of all nodes, the commands and replies on the wire, the
// faults, and the servers' roles.
//
// # What Redis promises
//
// A server with appendonly and appendfsync always keeps what it has acknowledged across a
// kill; the standalone server of the checker is one, so that all that is lost there is
// ours. Cluster and Sentinel replicate asynchronously: a master acknowledges a write
// before its replicas have it, and a replica that takes over may lack it. WAIT doesn't
// make that strongly consistent. So the checker has a replica confirm a write before
// each failover: what was acknowledged before that one must survive. Of what was
// acknowledged from then until the old master is a replica, it requires what the new
// masters hold at the end, from then on, and counts the rest as lost by the servers. If a user
// has logged out and in meanwhile it can't know, and requires nothing of the time between.
//
// A sentinel that is kept from running may take its master for dead and fail over by
// itself, once more within a failover too. It isn't known what the servers lose by that,
// and when: the round is counted, and not judged.
//
// # Known limits of a chain that it counts and doesn't judge
//
// A log-out and a new log-in under the same id, while a request of the old log-in runs on
// another node: the keys which that request changed join the new log-in. They are the
// keys carried over. Call RegenerateId at log-in.
//
// # What it expects beside
//
// Before the load, without faults: an invalidation delay p99 under 2 ms, at most 0.07 Redis reads
// a request where a session's requests stay on one node, and no read of an own write that asks
// Redis. A figure that isn't reached is measured three times. On a machine that is too busy, which is
// one where other programs use more than a twentieth of the CPU time meanwhile, none that takes time
// is judged, and one in a hundred reads of own writes may ask Redis. The nodes audit some of their
// hits (layer.Audited) all the time, and none may differ beyond what is allowed. Two and a half
// seconds after a server has begun to hang, or to refuse writes, a request's p99 is under 50 ms, and
// no request fails that begins more than a second after the server is back. A figure that isn't
// reached is printed.
//
// # Nodes that write behind
//
// After the topologies some nodes that write behind with a journal are killed, every other
// time while the server hangs, and started again on the same directories. Then the store holds
// every change that a session's node had accepted, or the node has reported no fewer changes to
// OnGiveUp than its sessions lack; and no session is there that was logged out.
//
// # Sessions by whose they are
//
// Then nodes with layer.Indexed, one of which writes behind with a journal, begin sessions, end
// them one by one and all of a principal's, and change all of a principal's, under the faults by
// which servers lose nothing. Later than the bound after what was acknowledged
//
//   - no session is served that was ended, by its handle or with its principal's;
//   - no principal has more sessions than the limit;
//   - no session lacks an update, and none that is there is missing in the list, but for one
//     that was on its way to the store while the servers were emptied.
//
// # What it doesn't check
//
// Nodes that share sessions aren't killed, and write synchronously. In a round with a failover the histories of
// one node aren't given to porcupine, as the servers' own losses have no order; nor is what follows a
// FLUSHDB or an eviction.
package main
