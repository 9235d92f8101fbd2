package main

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// maxVisitors bounds what the tally remembers; it starts anew when it is full.
const maxVisitors = 10_000

// Counts are what a session's requests took.
type Counts struct {
	Hits    int `json:"hits"`    // reads served from memory
	Loads   int `json:"loads"`   // reads of the store that a request waited for
	Writes  int `json:"writes"`  // commits and removals that reached the store
	Rereads int `json:"rereads"` // reads of the store after own writes, that no request waited for
}

// tally counts for each session. It keeps hashes in place of ids, which are as good as
// passwords. mu guards visitors.
type tally struct {
	seed     maphash.Seed
	mu       sync.Mutex
	visitors map[uint64]Counts
}

func newTally() *tally {
	return &tally{seed: maphash.MakeSeed(), visitors: map[uint64]Counts{}}
}

// uncounted marks a context whose looks are those of the page itself.
type uncounted struct{}

func (t *tally) hit(ctx context.Context, id string)  { t.count(ctx, id, Counts{Hits: 1}) }
func (t *tally) load(ctx context.Context, id string) { t.count(ctx, id, Counts{Loads: 1}) }
func (t *tally) write(id string)                     { t.add(id, Counts{Writes: 1}) }

func (t *tally) count(ctx context.Context, id string, more Counts) {
	if ctx.Value(uncounted{}) == nil {
		t.add(id, more)
	}
}

func (t *tally) add(id string, more Counts) {
	key := maphash.String(t.seed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	counts, known := t.visitors[key]
	if !known && len(t.visitors) >= maxVisitors {
		clear(t.visitors)
	}
	counts.Hits += more.Hits
	counts.Loads += more.Loads
	counts.Writes += more.Writes
	counts.Rereads += more.Rereads
	t.visitors[key] = counts
}

func (t *tally) of(id string) Counts {
	key := maphash.String(t.seed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.visitors[key]
}

// take returns a session's counts and forgets them.
func (t *tally) take(id string) Counts {
	counts := t.of(id)
	key := maphash.String(t.seed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.visitors, key)
	return counts
}

// countVisitor is a decorator for the outer end: it sees what came from memory.
func (t *tally) countVisitor() layer.Decorator {
	return layer.Around(func(below tiers.Storage) tiers.Storage {
		return &outer{Base: tiers.Base{Storage: below}, tally: t}
	})
}

// outer shows how little a decorator of one's own needs: a method for what it looks at.
type outer struct {
	tiers.Base
	tally *tally
}

func (o *outer) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	read, err := o.Base.Load(ctx, id, ttl)
	if read.Outcome == tiers.OutcomeHit || read.Outcome == tiers.OutcomeStale {
		o.tally.hit(ctx, id)
	}
	return read, err
}

// countStore is a decorator for the inner end: it sees what reaches the store.
func (t *tally) countStore() layer.Decorator {
	return layer.Around(func(below tiers.Storage) tiers.Storage {
		return &innermost{Base: tiers.Base{Storage: below}, tally: t}
	})
}

type innermost struct {
	tiers.Base
	tally *tally
}

func (i *innermost) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	i.tally.load(ctx, id)
	return i.Base.Load(ctx, id, ttl)
}

// LoadAll counts apart what a node reads again in the background, after its own writes, as no
// request waits for it.
func (i *innermost) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	for _, l := range loads {
		i.tally.add(l.ID, Counts{Rereads: 1})
	}
	return i.Base.LoadAll(ctx, loads)
}

func (i *innermost) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	i.tally.write(id)
	return i.Base.Commit(ctx, id, delta, ttl)
}

func (i *innermost) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	for _, c := range commits {
		i.tally.write(c.ID)
	}
	return i.Base.CommitAll(ctx, commits)
}

func (i *innermost) RemoveAll(ctx context.Context, id string) error {
	i.tally.write(id)
	return i.Base.RemoveAll(ctx, id)
}

// plain counts what GoFrame asks of a store without layers, by the same rules: sliding an
// expiry is no write there either.
type plain struct {
	gsession.Storage
	tally *tally
}

func (p *plain) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	p.tally.load(ctx, id)
	return p.Storage.GetSession(ctx, id, ttl)
}

func (p *plain) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	p.tally.write(id)
	return p.Storage.SetSession(ctx, id, data, ttl)
}

func (p *plain) RemoveAll(ctx context.Context, id string) error {
	p.tally.write(id)
	return p.Storage.RemoveAll(ctx, id)
}
