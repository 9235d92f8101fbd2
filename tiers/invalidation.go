package tiers

import "time"

// Source announces changes of the store, whoever makes them, so that a cache need not
// guess how long its copies are right. A layer below a cache that is a Source is found
// by it; see also local.Invalidation.
type Source interface {
	// Watch tells the listener of everything that happens from now on, until stop is
	// called; after stop has returned the listener isn't called again.
	Watch(l Listener) (stop func())
}

// WatchErrer is a Source that can say why nobody vouches at present, nil where somebody does
// or nothing has gone wrong yet. The text of what isn't an [Error] isn't shown.
type WatchErrer interface{ WatchErr() error }

// Listener is told what a Source learns. Its methods are called one at a time, must
// return quickly, and must not call the Source.
//
// Until the first call of Vouched or Unsupported nobody vouches, and nothing may be
// served from memory.
type Listener interface {
	// Changed says that the session may have changed, expired or gone.
	Changed(id string)

	// Missed says that any session may have: announcements were lost, or all sessions
	// were removed at once. Nothing that was read before may be served again.
	Missed()

	// Vouched says that every change which the store made before some moment has been
	// told, and that what is known may be served until the given one, on the monotonic
	// clock. A zero or past time ends that at once. A Source whose channel was lost
	// calls Missed, after the channel stands again, before it vouches anew.
	Vouched(until time.Time)

	// Unsupported says that the store can't announce changes: the cache bounds the age
	// of its copies by itself.
	Unsupported(reason error)
}

// Announcer is a layer that commits later than it was told to, or for several callers at
// once. Only it knows in which order its commits happen, so that it tells the caches
// above it what has become of a session, and they needn't conclude it from what a
// Commit answers. A state that they were told is marked with [Snapshot.Told].
type Announcer interface {
	// Announce tells the cache from now on, until stop is called.
	Announce(c Cache) (stop func())
}

// Cache is told by an Announcer, of one session one call at a time. Its methods must be
// quick, and must not call the Announcer.
type Cache interface {
	// Begin is called before a commit goes to the store, or a read. The token is handed
	// back when it has ended.
	Begin(id string) (token uint64)

	// Became is called when it has ended, of commits on errors too: the session is state
	// from now on, unless readers may have seen another one since Begin. State is nil where
	// it isn't known.
	Became(id string, ttl time.Duration, token uint64, state *Snapshot)

	// End is called in its place where nothing came of what was begun.
	End(id string)

	// Shown is called when a change was accepted that is committed later: readers see
	// state from now on, which was made of what the store answered at [Snapshot.Read].
	// It is nil where it isn't known.
	Shown(id string, ttl time.Duration, state *Snapshot)
}
