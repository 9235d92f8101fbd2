package layer

import (
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/coalesce"
)

// CoalescedOption sets up Coalesced.
type CoalescedOption = coalesce.Option

// Coalesced merges the writes of a session that overlap, so that they reach the store
// as few commits. SetSession returns when its change is in the store (law 7): while a
// commit of a session is under way, later changes of it join into one next commit, and
// each caller waits for the one that holds its own. Commits of different sessions that
// are due together go to redisstore in one pipeline.
//
// The caller's cancellation ends its waiting, never the commit. RemoveAll annuls what
// waits. Slides of the expiry are rare: each sets a tenth more than the ttl, and those
// that come before that tenth is used up cost nothing.
//
// Flush and Close of the chain wait for the commits under way.
func Coalesced(opts ...CoalescedOption) Decorator {
	return func(inner gsession.Storage) gsession.Storage { return coalesce.New(inner, opts...) }
}

// WriteTimeout is how long a caller waits for its commit at most, and the store for
// what it was given, if it heeds its context; 5 s unless set.
func WriteTimeout(d time.Duration) CoalescedOption { return coalesce.WriteTimeout(d) }
