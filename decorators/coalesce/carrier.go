package coalesce

import (
	"context"
	"errors"
	"time"

	"github.com/gf-strata/strata/internal/circuit"
	"github.com/gf-strata/strata/internal/crew"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// carrier brings writes and slides to the store. All fields are set at construction and guard themselves.
type carrier struct {
	store    tiers.Storage
	batcher  tiers.Batcher  // nil if the store takes no batches
	reloader tiers.Reloader // nil if it doesn't read several sessions together
	shard    func(id string) string
	timeout  duration        // of a write
	ended    context.Context // calls of the store end with it
	end      context.CancelFunc
	slides   slides
	tally    *telemetry.Tally
}

// carry brings writes to the store, several in one call. A probe has less time than a write may take. The values of
// one caller's context stand for all.
//
// A panic of the store is raised again in its write's caller, but in none of several: changes that
// could panic were encoded before they were merged.
func (c *carrier) carry(writes []*write, probe time.Duration) {
	if len(writes) == 0 {
		return
	}
	defer c.note(writes, time.Now()) // also if the store ends the goroutine
	var causes telemetry.Causes
	for _, w := range writes {
		causes.Merge(w.causes)
		w.err = errAborted
	}
	caller, timeout := crew.Within(c.ended, causes.Attach(writes[0].ctx)), c.timeout.get()
	if probe > 0 {
		caller, timeout = circuit.AsProbe(caller), min(timeout, probe)
	}
	ctx, cancel := context.WithTimeout(caller, timeout)
	defer cancel()
	defer func() {
		if p := recover(); len(writes) == 1 {
			writes[0].panicked = p
		}
	}()
	c.spare(ctx, writes, timeout/2)
	if len(writes) == 1 {
		w := writes[0]
		w.snapshot, w.err = perform(ctx, c.store, w.change, c.life(w))
		return
	}
	commits := make([]tiers.Commit, len(writes))
	for n, w := range writes {
		commits[n] = tiers.Commit{ID: w.id, Delta: w.delta, TTL: c.life(w)}
	}
	for n, result := range c.batcher.CommitAll(ctx, commits) {
		writes[n].snapshot, writes[n].err = result.Snapshot, result.Err
	}
}

var errAborted = tiers.NewError("strata: the store panicked or ended the goroutine of a write, which may have been applied", nil)

// perform carries a change out.
func perform(ctx context.Context, store tiers.Storage, c change, ttl time.Duration) (*tiers.Snapshot, error) {
	if c.delta == nil {
		return nil, store.RemoveAll(ctx, c.id)
	}
	return store.Commit(ctx, c.id, c.delta, ttl)
}

// life returns the time to live that a commit sets.
func (c *carrier) life(w *write) time.Duration {
	if !w.pending {
		return c.slides.longer(w.ttl)
	}
	return max(time.Until(w.expires), time.Millisecond)
}

// spare has late writes keep the expiries that other nodes have given the sessions since, for requests with the same
// ttl. (One that isn't late sets what a request at this moment would.) A store that can't be read in time takes the
// writes as they are.
func (c *carrier) spare(ctx context.Context, writes []*write, timeout time.Duration) {
	var late []*write
	var loads []tiers.Reload
	for _, w := range writes {
		if w.pending && c.life(w) < w.ttl {
			late, loads = append(late, w), append(loads, tiers.Reload{ID: w.id, TTL: w.ttl})
		}
	}
	if len(late) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() { _ = recover() }() // which the store's next call will raise
	for n, loaded := range c.loadAll(ctx, loads) {
		w := late[n]
		if loaded.Err != nil || loaded.Read.Snapshot == nil {
			continue // the commit finds out
		}
		if at, _ := loaded.Read.Snapshot.Expires(); at.After(w.expires) && time.Until(at) <= c.slides.longer(w.ttl) {
			w.expires = at
		}
	}
}

func (c *carrier) loadAll(ctx context.Context, loads []tiers.Reload) (results []tiers.Reloaded) {
	if c.reloader != nil && len(loads) > 1 {
		return c.reloader.LoadAll(ctx, loads)
	}
	for _, l := range loads {
		if ctx.Err() != nil {
			break
		}
		read, err := c.store.Load(ctx, l.ID, l.TTL)
		results = append(results, tiers.Reloaded{Read: read, Err: err})
	}
	return results
}

// prolong sets the expiries of writes that have reached the store, and returns those that it has set.
func (c *carrier) prolong(writes []*write) (set []*write) {
	defer func() { _ = recover() }() // which the store's next call will raise
	ctx, cancel := context.WithTimeout(c.ended, c.timeout.get())
	defer cancel()
	for _, w := range writes {
		if ctx.Err() != nil {
			break
		}
		if _, err := c.expire(ctx, w.id, c.life(w)); err == nil {
			set = append(set, w)
		}
	}
	return set
}

// slide sets the expiry, unless it can be skipped, and reports whether the store was asked.
func (c *carrier) slide(ctx context.Context, id string, ttl time.Duration) (until time.Time, asked bool, err error) {
	if until, skips := c.slides.skips(id, ttl); skips {
		return until, false, nil
	}
	until, err = c.expire(context.WithoutCancel(ctx), id, c.slides.longer(ttl))
	return until, true, err
}

// expire has the session expire after a time.
func (c *carrier) expire(ctx context.Context, id string, life time.Duration) (until time.Time, err error) {
	e, _ := c.slides.get(id)
	ctx, cancel := context.WithTimeout(ctx, c.timeout.get())
	defer cancel()
	// Known before it is done, so that those who slide meanwhile leave it to this one.
	e.at, e.known = time.Now().Add(life), false
	c.slides.set(id, e)
	c.tally.Add(telemetry.SlideSent)
	until, err = c.store.Slide(ctx, id, life)
	if err != nil {
		c.slides.forget(id)
	} else {
		c.slides.slid(id, e.at, !until.IsZero())
	}
	return until, err
}

// note counts the outcomes of writes, and notes the expiries that they have set.
func (c *carrier) note(writes []*write, began time.Time) {
	for _, w := range writes {
		switch {
		case w.delta == nil:
			c.slides.forget(w.id)
		case errors.Is(w.err, circuit.ErrOpen):
		case w.err == nil:
			c.tally.Add(telemetry.CommitOK)
			c.slides.landed(w, began.Add(c.life(w)))
		case errors.Is(w.err, tiers.ErrRevoked):
			c.tally.Add(telemetry.CommitRevoked)
		default:
			c.tally.Add(telemetry.CommitFailed)
		}
	}
}
