package coalesce

import (
	"time"

	"github.com/gf-strata/strata/tiers"
)

// caches are notified of the states of sessions. The queues' mutex guards the list, and is held when a method is
// called.
type caches struct{ all []*subscription }

type subscription struct{ cache tiers.CommitListener }

// token is what a cache has returned at the beginning of a commit or a read.
type token struct {
	*subscription
	value uint64
}

func (c *caches) begin(id string) (tokens []token) {
	for _, s := range c.all {
		tokens = append(tokens, token{s, s.cache.Begin(id)})
	}
	return tokens
}

func (c *caches) became(id string, ttl time.Duration, tokens []token, state *tiers.Snapshot) {
	for _, t := range tokens {
		t.cache.Done(id, ttl, t.value, state)
	}
}

// end is called in place of became if a commit or a read has ended without a state.
func (c *caches) end(id string, tokens []token) {
	for _, t := range tokens {
		t.cache.Abandon(id)
	}
}

func (c *caches) shown(id string, ttl time.Duration, state *tiers.Snapshot) {
	for _, s := range c.all {
		s.cache.Accept(id, ttl, state)
	}
}
