package index

import (
	"context"
	"slices"
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
	err := c.decide(ctx)
	if err != nil {
		c.undo()
	}
	return err
}

func (c *change) decide(ctx context.Context) error {
	var before map[string]any
	if base := c.delta.Base(); base != nil {
		before = base.Data()
	}
	next := before
	if !c.delta.Empty() {
		if next, _ = c.delta.Apply(c.delta.Base()); next == nil {
			return nil // the store decides
		}
	}
	principal, r, has := c.of.owners.recorded(next)
	switch {
	case principal == "":
		if _, has := recordOf(next); has {
			c.delta = c.delta.Without(Key)
		}
		c.leave(before)
		return nil
	case !has:
		return c.begin(ctx, principal, before, next)
	case c.delta.Creates():
		return c.carry(ctx, principal, r)
	default:
		return c.goOn(ctx, r)
	}
}

// leave has the session leave the principal that it had.
func (c *change) leave(before map[string]any) {
	if old, had := recordOf(before); had {
		c.left = append(c.left, old.entry(c.id, c.ttl))
	}
}

// begin logs the principal of a session in that has no record of it, unless a record has been made elsewhere: by an
// earlier attempt, or after the request had loaded its copy.
func (c *change) begin(ctx context.Context, principal string, before, next map[string]any) error {
	var (
		s       = c.of
		creates = c.delta.Creates()
		repeats = c.delta.IsConditional() && !(creates && c.delta.Begins())
		copied  = !creates && s.owners.whose(before) == principal
	)
	if repeats || copied {
		if r, has := s.begun.of(c.id, principal); has {
			if repeats {
				c.delta = c.delta.With(Key, r.String())
			}
			return c.goOn(ctx, r)
		}
	}
	if repeats && creates {
		return nil // an attempt may have begun it, and none begins it now
	}
	if copied || !creates && c.delta.IsInquiry() {
		read, err := s.Storage.Load(ctx, c.id, c.ttl)
		if err != nil {
			return err
		}
		if read.Snapshot != nil {
			if r, has := recordOf(read.Snapshot.Data()); has && r.isOf(principal) {
				s.begun.note(c.id, principal, r)
				return c.goOn(ctx, r)
			}
		}
		if c.delta.IsInquiry() || read.Snapshot.Len() == 0 {
			return nil
		}
	}
	if s.preview != nil {
		if back, err := s.preview(next); err == nil && s.owners.whose(back) != principal { // or the commit will fail
			return errLost
		}
	}
	c.leave(before)
	return c.logIn(ctx, principal)
}

// goOn is for a session that has a record.
func (c *change) goOn(ctx context.Context, r record) error {
	s := c.of
	reason, over, err := s.marks.judge(ctx, r)
	if err != nil {
		return err
	}
	if over {
		s.end(ctx, c.delta.Base(), r.entry(c.id, c.ttl), reason)
		return &Ended{Reason: reason, Cause: tiers.ErrRevoked}
	}
	if s.recent.due(ctx, c.id, c.ttl) {
		s.queue.touch(r.entry(c.id, c.ttl))
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
	c.delta = c.delta.With(Key, r.String())
	return nil
}

// carry enters a session that goes on under another id, which its record shows.
func (c *change) carry(ctx context.Context, principal string, r record) error {
	s := c.of
	entry := r.entry(c.id, c.ttl)
	entered, err := c.enter(ctx, entry, Limit{})
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
	if over {
		return &Ended{Reason: reason, Cause: tiers.ErrRevoked}
	}
	s.begun.note(c.id, principal, r)
	return nil
}

// enter enters a session, and ends those beyond the limit before it is there; of very many, as of a limit that
// has just been introduced, some, and the next log-ins others. Of log-ins at the same time, each counts those that were entered
// before it.
func (c *change) enter(ctx context.Context, entry principals.Entry, limit Limit) (principals.Entered, error) {
	s := c.of
	if err := principals.Check(entry.Principal); err != nil {
		return principals.Entered{}, err
	}
	read := 0
	if limit.Most > 0 {
		read = mostCounted
	}
	c.entered = append(c.entered, entry) // also if the reply is lost
	soon, cancel := principals.Bounded(ctx)
	entered, err := s.indexer.Enter(soon, entry, read)
	cancel()
	if err != nil || limit.Most == 0 {
		return entered, err
	}
	others := slices.DeleteFunc(entered.Others, func(e principals.Entry) bool {
		return e.ID == entry.ID || e.Tag == entry.Tag || limit.PerClass && e.Class != entry.Class
	})
	beyond := len(others) + 1 - limit.Most
	if !limit.PerClass {
		beyond += entered.More
	}
	// Sessions that are gone, as by a crash, or over, may take the places of others. Those that weren't used for longest
	// are looked at first, and further ones while some are found.
	var left []principals.Entry
	for looks := true; beyond > 0 && len(others) > 0; {
		chunk := others[:min(len(others), mostAtOnce)]
		others = others[len(chunk):]
		if looks {
			_, dead, err := s.Principals().sift(ctx, entry.Key, chunk)
			if err != nil {
				return entered, err
			}
			s.leave(ctx, dead)
			looks, beyond = len(dead) > 0, beyond-len(dead)
			chunk = slices.DeleteFunc(chunk, func(e principals.Entry) bool { return slices.Contains(dead, e) })
		}
		left = append(left, chunk...)
	}
	switch {
	case beyond <= 0:
		return entered, nil
	case limit.Refuse:
		c.entered = nil
		s.leave(ctx, []principals.Entry{entry})
		return entered, ErrLimit
	}
	slices.SortFunc(left, oldestFirst)
	_, err = s.Principals().endAll(ctx, left[:min(beyond, len(left), mostTogether)], ReasonDisplaced)
	return entered, err
}

const (
	mostCounted = 4096 // sessions of a principal that a log-in reads under a limit
	mostAtOnce  = 128  // of them that it looks at together
)

// undo removes the entry of a session that hasn't begun.
func (c *change) undo() {
	for _, e := range c.entered {
		c.of.begun.forget(c.id)
		c.of.queue.leave(e)
	}
}

// finish follows a commit.
func (c *change) finish(ctx context.Context, err error) error {
	switch {
	case err == nil && len(c.left) > 0:
		c.of.leave(ctx, c.left)
	case err != nil && (failure.IsFinal(err) || !tiers.MayBeApplied(err)):
		c.undo()
	}
	return err
}
