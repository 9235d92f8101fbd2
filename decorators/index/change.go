package index

import (
	"context"
	"time"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
)

// change is the effect of one commit on the index: prepare comes before the commit, and finish after it. It is its
// caller's alone.
type change struct {
	of      *Storage
	id      string
	ttl     time.Duration
	delta   *tiers.Delta       // what is to be committed
	entered []principals.Entry // undone if the commit fails
	left    []principals.Entry // removed once it has succeeded
}

// prepare enters a session that begins, and refuses what comes after a mark.
func (c *change) prepare(ctx context.Context) error {
	s, id, ttl, delta := c.of, c.id, c.ttl, c.delta
	var before map[string]any
	if base := delta.Base(); base != nil {
		before = base.Data()
	}
	next := before
	if !delta.Empty() {
		if next, _ = delta.Apply(delta.Base()); next == nil {
			return nil // the store decides
		}
	}
	old, had := recordOf(before)
	principal := s.owners.whose(next)
	if principal == "" {
		if _, has := recordOf(next); has {
			c.delta = delta.Without(Key)
		}
		if had {
			c.left = append(c.left, old.entry(id, ttl))
		}
		return nil
	}
	r, has := recordOf(next)
	begins := delta.Creates()
	switch {
	case has && r.isOf(principal):
	default:
		again := begins && delta.IsConditional() && !delta.Begins() // an attempt may have begun it, and none begins it now
		attempt := again || !begins && delta.IsConditional()
		closed := !begins && s.owners.whose(before) == principal // the request's copy lacks the record
		if attempt || closed {
			if r, has = s.begun.of(id, principal); has {
				if attempt {
					c.delta = delta.With(Key, r.String())
				}
				begins = false
				break
			}
		}
		if again {
			return nil
		}
		if closed || !begins && delta.IsInquiry() {
			// The store may have it.
			read, err := s.Storage.Load(ctx, id, ttl)
			if err != nil {
				return err
			}
			if read.Snapshot != nil {
				if r, has = recordOf(read.Snapshot.Data()); has && r.isOf(principal) {
					s.begun.note(id, principal, r)
					break
				}
			}
			if delta.IsInquiry() || read.Snapshot.Len() == 0 {
				return nil
			}
		}
		if had {
			c.left = append(c.left, old.entry(id, ttl))
		}
		return c.logIn(ctx, principal)
	}
	if begins {
		// It comes from another id.
		return c.carry(ctx, principal, r)
	}
	reason, over, err := s.marks.judge(ctx, r)
	if err != nil {
		return err
	}
	if over {
		s.end(ctx, delta.Base(), r.entry(id, ttl), reason)
		return &Ended{Reason: reason, Cause: tiers.ErrRevoked}
	}
	if s.recent.due(ctx, id, ttl) {
		s.queue.touch(r.entry(id, ttl))
	}
	return nil
}

// logIn enters a session that begins.
func (c *change) logIn(ctx context.Context, principal string) error {
	s, id, ttl := c.of, c.id, c.ttl
	r := newRecord(principal, descriptionOf(ctx))
	entered, err := c.enter(ctx, r.entry(id, ttl), s.options.Limit)
	if err != nil {
		return err
	}
	r.own, r.all = entered.Own, entered.All
	s.begun.note(id, principal, r)
	s.recent.due(ctx, id, ttl)
	c.entered = append(c.entered, r.entry(id, ttl))
	c.delta = c.delta.With(Key, r.String())
	return nil
}

// carry enters a session that goes on under another id.
func (c *change) carry(ctx context.Context, principal string, r record) error {
	s := c.of
	entry := r.entry(c.id, c.ttl)
	entered, err := c.enter(ctx, entry, principals.Limit{})
	if err != nil {
		return err
	}
	judge := s.marks.judge
	if entered.Own != r.own || entered.All != r.all {
		judge = s.marks.judgeAnew // a mark that isn't in memory yet may spare the session, or not
	}
	reason, over, err := judge(ctx, r)
	if err != nil {
		return err
	}
	c.entered = append(c.entered, entry)
	if over {
		s.queue.leave(entry)
		return &Ended{Reason: reason, Cause: tiers.ErrRevoked}
	}
	s.begun.note(c.id, principal, r)
	return nil
}

// enter enters a session and ends those beyond the limit, before it is there; many, as of a limit that
// has just been introduced, in the background.
func (c *change) enter(ctx context.Context, entry principals.Entry, limit principals.Limit) (principals.Entered, error) {
	s := c.of
	if err := principals.Check(entry.Principal); err != nil {
		return principals.Entered{}, err
	}
	entered, err := s.indexer.Enter(ctx, entry, limit)
	if err == nil && (entered.Refused || len(entered.Excess) > 0) {
		// Sessions that are gone, as by a crash, may take the places of others.
		var gone bool
		if gone, err = s.Principals().heal(ctx, entry); err == nil && gone {
			entered, err = s.indexer.Enter(ctx, entry, limit)
		}
	}
	switch {
	case err != nil:
		return entered, err
	case entered.Refused:
		return entered, ErrLimit
	}
	now := entered.Excess[:min(len(entered.Excess), mostAtOnce)]
	if _, err := s.Principals().endAll(ctx, now, ReasonDisplaced, false); err != nil {
		s.queue.leave(entry)
		return entered, err
	}
	s.queue.end(entered.Excess[len(now):])
	return entered, nil
}

// finish follows a commit.
func (c *change) finish(ctx context.Context, err error) error {
	s := c.of
	if err == nil {
		if len(c.left) > 0 {
			s.leave(ctx, c.left)
		}
		return nil
	}
	if len(c.entered) > 0 && (failure.IsFinal(err) || !tiers.MayBeApplied(err)) {
		s.begun.forget(c.id)
		for _, e := range c.entered {
			s.queue.leave(e)
		}
	}
	return err
}
