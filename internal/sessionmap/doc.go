// Package sessionmap stands between gsession's maps and the snapshots and deltas of a chain: it
// hands out a session as a map that remembers what it was made of, takes the map's change when it
// comes back, and adapts storages that know maps only.
//
// Lock order: an id's lock of an adapter (Locks) is held while the storage below is called, where
// another adapter may take its own, so that locks of ids are taken from the outermost layer
// inwards. A map's own lock is held while its nil checker runs, which takes none. The mutexes of
// tombstones, absences, moves and Locks are taken last, one at a time, for a few
// instructions, and no storage is called under them.
package sessionmap
