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

// Announcer is a layer that changes sessions later than it was told to: a cache above
// it hears when the state that it was shown may no longer be what is read.
type Announcer interface {
	// Announce calls changed for each such session, until stop is called.
	Announce(changed func(id string)) (stop func())
}
