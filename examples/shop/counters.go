package main

import (
	"context"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// maxVisitors bounds what the tally remembers; it starts anew when it is full.
const maxVisitors = 10_000

// Counts are what the layers did for one visitor.
type Counts struct {
	Hits   int `json:"hits"`   // reads answered from memory
	Loads  int `json:"loads"`  // reads that reached the store
	Writes int `json:"writes"` // commits that reached the store
}

// tally counts for each session, from both ends of the chain. mu guards visitors.
type tally struct {
	mu       sync.Mutex
	visitors map[string]*Counts
}

func newTally() *tally { return &tally{visitors: map[string]*Counts{}} }

func (t *tally) add(id string, count func(*Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := t.visitors[id]
	if counts == nil {
		if len(t.visitors) >= maxVisitors {
			t.visitors = map[string]*Counts{}
		}
		counts = &Counts{}
		t.visitors[id] = counts
	}
	count(counts)
}

func (t *tally) of(id string) Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	if counts := t.visitors[id]; counts != nil {
		return *counts
	}
	return Counts{}
}

// countVisitor is a decorator for the outer end: it sees what came from memory.
func (t *tally) countVisitor(inner gsession.Storage) gsession.Storage {
	return &outer{Storage: tiers.Of(inner), wrapped: inner, tally: t}
}

// outer embeds the capability, and looks at one method of it.
type outer struct {
	tiers.Storage
	wrapped gsession.Storage
	tally   *tally
}

func (o *outer) Unwrap() gsession.Storage { return o.wrapped }

func (o *outer) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	read, err := o.Storage.Load(ctx, id, ttl)
	if read.Outcome == tiers.OutcomeHit {
		o.tally.add(id, func(c *Counts) { c.Hits++ })
	}
	return read, err
}

// countStore is a decorator for the inner end: it sees what reaches the store. Where
// the store takes batches, so does the decorator, or it would hide that from Coalesced.
func (t *tally) countStore(inner gsession.Storage) gsession.Storage {
	i := &innermost{Storage: tiers.Of(inner), wrapped: inner, tally: t}
	if batcher, ok := i.Storage.(tiers.Batcher); ok {
		return &batching{innermost: i, batcher: batcher}
	}
	return i
}

type innermost struct {
	tiers.Storage
	wrapped gsession.Storage
	tally   *tally
}

func (i *innermost) Unwrap() gsession.Storage { return i.wrapped }

func (i *innermost) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	i.tally.add(id, func(c *Counts) { c.Loads++ })
	return i.Storage.Load(ctx, id, ttl)
}

func (i *innermost) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	i.tally.add(id, func(c *Counts) { c.Writes++ })
	return i.Storage.Commit(ctx, id, delta, ttl)
}

type batching struct {
	*innermost
	batcher tiers.Batcher
}

func (b *batching) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	for _, c := range commits {
		b.tally.add(c.ID, func(c *Counts) { c.Writes++ })
	}
	return b.batcher.CommitAll(ctx, commits)
}
