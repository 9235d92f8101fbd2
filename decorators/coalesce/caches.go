package coalesce

import (
	"slices"
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// caches are notified of what becomes of sessions. mu guards the list, which is replaced and
// never changed.
type caches struct {
	mu  sync.RWMutex
	all []*subscription
}

type subscription struct{ cache tiers.CommitListener }

// subscribe notifies a cache until stop is called.
func (c *caches) subscribe(cache tiers.CommitListener) (stop func()) {
	s := &subscription{cache: cache}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(slices.Clone(c.all), s)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = slices.DeleteFunc(slices.Clone(c.all), func(other *subscription) bool { return other == s })
	}
}

func (c *caches) list() []*subscription {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.all
}

// token is what a cache has returned at the beginning of a commit or a read.
type token struct {
	*subscription
	value uint64
}

func (c *caches) begin(id string) (tokens []token) {
	for _, s := range c.list() {
		tokens = append(tokens, token{s, s.cache.Begin(id)})
	}
	return tokens
}

func (c *caches) became(id string, ttl time.Duration, tokens []token, state *tiers.Snapshot) {
	for _, t := range tokens {
		t.cache.Done(id, ttl, t.value, state)
	}
}

// end is called in place of became if nothing came of what was begun.
func (c *caches) end(id string, tokens []token) {
	for _, t := range tokens {
		t.cache.Abandon(id)
	}
}

func (c *caches) shown(id string, ttl time.Duration, state *tiers.Snapshot) {
	for _, s := range c.list() {
		s.cache.Accept(id, ttl, state)
	}
}
