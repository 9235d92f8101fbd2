package main

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/sessionmap"
	"github.com/gf-strata/strata/tiers"
)

// maxVisitors bounds what the tally remembers; it starts anew when it is full.
const maxVisitors = 10_000

// Counts are what a session's requests took.
type Counts struct {
	Hits    int `json:"hits"`    // reads answered from memory
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
func (t *tally) countVisitor(inner gsession.Storage) gsession.Storage {
	return &outer{Storage: sessionmap.Adapt(inner), wrapped: inner, tally: t}
}

// outer shows how little a decorator of one's own needs: it embeds the capability,
// whether or not the inner storage has it, and overrides what it looks at.
type outer struct {
	tiers.Storage
	wrapped gsession.Storage
	tally   *tally
}

func (o *outer) Unwrap() gsession.Storage { return o.wrapped }

func (o *outer) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	read, err := o.Storage.Load(ctx, id, ttl)
	if read.Outcome == tiers.OutcomeHit || read.Outcome == tiers.OutcomeStale {
		o.tally.hit(ctx, id)
	}
	return read, err
}

// countStore is a decorator for the inner end: it sees what reaches the store. Where
// the store takes batches, so does the decorator, or it would hide that from Coalesced.
func (t *tally) countStore(inner gsession.Storage) gsession.Storage {
	i := &innermost{Storage: sessionmap.Adapt(inner), wrapped: inner, tally: t}
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
	i.tally.load(ctx, id)
	return i.Storage.Load(ctx, id, ttl)
}

// Reloader passes on what a node reads again in the background, after its own writes, and
// counts it apart, as no request waits for it.
func (i *innermost) Reloader() tiers.Reloader {
	if reloader := tiers.ReloaderOf(i.Storage); reloader != nil {
		return &rereading{reloader: reloader, tally: i.tally}
	}
	return nil
}

func (i *innermost) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	i.tally.write(id)
	return i.Storage.Commit(ctx, id, delta, ttl)
}

func (i *innermost) RemoveAll(ctx context.Context, id string) error {
	i.tally.write(id)
	return i.Storage.RemoveAll(ctx, id)
}

type batching struct {
	*innermost
	batcher tiers.Batcher
}

func (b *batching) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	for _, c := range commits {
		b.tally.write(c.ID)
	}
	return b.batcher.CommitAll(ctx, commits)
}

type rereading struct {
	reloader tiers.Reloader
	tally    *tally
}

func (r *rereading) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	for _, l := range loads {
		r.tally.add(l.ID, Counts{Rereads: 1})
	}
	return r.reloader.LoadAll(ctx, loads)
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
