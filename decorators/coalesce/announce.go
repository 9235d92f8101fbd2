package coalesce

import (
	"slices"
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// caches are told what becomes of sessions. mu guards the list, which is replaced and
// never changed.
type caches struct {
	mu  sync.RWMutex
	all []*told
}

type told struct{ cache tiers.Cache }

// Announce tells a cache above what becomes of the sessions that are written here.
func (s *Storage) Announce(c tiers.Cache) (stop func()) {
	t := &told{cache: c}
	s.caches.mu.Lock()
	defer s.caches.mu.Unlock()
	s.caches.all = append(slices.Clone(s.caches.all), t)
	return func() {
		s.caches.mu.Lock()
		defer s.caches.mu.Unlock()
		s.caches.all = slices.DeleteFunc(slices.Clone(s.caches.all), func(other *told) bool { return other == t })
	}
}

var _ tiers.Announcer = (*Storage)(nil)

func (c *caches) list() []*told {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.all
}

// ticket is what caches have answered to the beginning of a commit.
type ticket struct {
	told  *told
	token uint64
}

func (c *caches) begin(id string) (tickets []ticket) {
	for _, t := range c.list() {
		tickets = append(tickets, ticket{told: t, token: t.cache.Begin(id)})
	}
	return tickets
}

func (c *caches) became(id string, ttl time.Duration, tickets []ticket, state *tiers.Snapshot) {
	for _, t := range tickets {
		t.told.cache.Became(id, ttl, t.token, state)
	}
}

// end is called in place of became where nothing came of what was begun.
func (c *caches) end(id string, tickets []ticket) {
	for _, t := range tickets {
		t.told.cache.End(id)
	}
}

func (c *caches) shown(id string, ttl time.Duration, state *tiers.Snapshot) {
	for _, t := range c.list() {
		t.cache.Shown(id, ttl, state)
	}
}
