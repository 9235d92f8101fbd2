// Package sessionmap stands between gsession's maps and the snapshots and deltas of a chain: it
// hands out a session as a map that remembers what it was made of, takes the map's change when it
// comes back, and adapts storages that know maps only.
package sessionmap
