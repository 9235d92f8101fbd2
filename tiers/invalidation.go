package tiers

import "time"

// InvalidationSource is the capability of a store that notifies of its changes, by any node, so
// that a cache needn't guess how long its copies are right. A cache finds one below it;
// see also layer.Invalidation.
type InvalidationSource interface {
	// Subscribe notifies the listener of everything that happens from now on, until stop is
	// called; after stop has returned the listener isn't called again.
	Subscribe(l InvalidationListener) (stop func())
}

// InvalidationErrer is an InvalidationSource that can say why copies aren't valid at present: nil
// where they are, or nothing has gone wrong yet. The text of what isn't an [Error] isn't shown.
type InvalidationErrer interface{ InvalidationErr() error }

// InvalidationListener receives what an InvalidationSource learns. Its methods are called one at
// a time, must return quickly, and must not call the source.
//
// Until the first call of ValidUntil or Unsupported nothing may be served from memory.
type InvalidationListener interface {
	// Invalidate says that the session may have changed, expired or gone.
	Invalidate(id string)

	// InvalidateAll says that any session may have: notifications were lost, or all sessions
	// were removed at once. Nothing that was read before may be served again.
	InvalidateAll()

	// ValidUntil says that the listener has been notified of every change which the store made
	// before some moment, and that copies may be served until the given one, on the monotonic
	// clock. A zero or past time ends that at once. A source whose connection was lost calls
	// InvalidateAll, once the connection stands again, before it calls ValidUntil.
	ValidUntil(until time.Time)

	// Unsupported says that the store can't notify of changes: the cache bounds the age of its
	// copies by itself.
	Unsupported(reason error)
}

// CommitFeed is the capability of a layer that commits later than it was called, or for several
// callers at once. Only it knows in which order its commits happen, so it notifies the caches
// above it of the state of a session, and they needn't conclude that from what a Commit returns.
// A state of which they have been notified is marked with [Snapshot.AsPublished]. A cache takes no
// state past a layer that changes sessions: one with a method ChangesSessions(), or one that isn't a
// Storage.
type CommitFeed interface {
	// Follow notifies the listener from now on, until stop is called.
	Follow(l CommitListener) (stop func())
}

// CommitListener receives what a CommitFeed does with a session, one call at a time. Its methods
// must be quick, and must not call the CommitFeed.
type CommitListener interface {
	// Begin is called before a commit goes to the store, or a read. The token is passed on when
	// it has ended.
	Begin(id string) (token uint64)

	// Done is called when it has ended, of commits on errors too: the session is state from now
	// on, unless readers may have seen another one since Begin. State is nil where it isn't known.
	Done(id string, ttl time.Duration, token uint64, state *Snapshot)

	// Abandon is called in place of Done where nothing came of it.
	Abandon(id string)

	// Accept is called when a change was accepted that is committed later: readers see state
	// from now on, which was made of what the store returned at [Snapshot.Read]. It is nil where
	// it isn't known.
	Accept(id string, ttl time.Duration, state *Snapshot)
}
