package coalesce

import (
	"context"
	"log/slog"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// behind accepts a change and answers at once. A session that begins goes to the store
// without delay, so that a log-in is seen by other nodes as soon as it can be. Whether an
// unknown store can keep what isn't a plain value, only its answer tells, and so it is with
// whether a session is still there that another request may have emptied.
func (s *Storage) behind(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	delta, err := delta.Formed(s.form)
	if err != nil {
		return nil, err
	}
	if s.form == nil && !delta.Plain() || !delta.Creates() && s.mayBeEmpty(id) {
		return s.now(ctx, id, delta, ttl)
	}
	wait := s.options.interval
	if delta.Creates() {
		wait = 0
	}
	return s.accept(ctx, id, delta, ttl, wait)
}

func (s *Storage) accept(ctx context.Context, id string, delta *tiers.Delta, ttl, wait time.Duration) (*tiers.Snapshot, error) {
	var content []byte
	if s.lanes.journal != nil {
		var err error
		if content, err = encode(id, delta, ttl); err != nil {
			return nil, err
		}
	}
	held, shown, ok, err := s.lanes.accept(ctx, id, delta, ttl, wait, content)
	switch {
	case !ok:
		return s.now(ctx, id, delta, ttl) // the chain is being closed
	case err != nil && ctx.Err() != nil:
		return nil, tiers.UnderWay(ctx.Err())
	case err != nil:
		s.reporter.Warn(ctx, "journal", "strata: the journal failed, so that requests wait for the store",
			slog.String("error", tiers.Explain(err)))
		return s.lanes.claim(ctx, id, held)
	}
	return shown, nil
}

// claim waits for a batch after all: its failure is the caller's.
func (l *lanes) claim(ctx context.Context, id string, b *batch) (*tiers.Snapshot, error) {
	l.mu.Lock()
	b.hold.claimed = true
	if k := l.lanes[id]; k != nil {
		l.hasten(k)
	}
	l.mu.Unlock()
	return b.wait(ctx, l.timeout)
}

// extend has what waits for the session keep it alive for as long as a slide would.
func (l *lanes) extend(id string, ttl time.Duration) (waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lanes[id]
	if k == nil {
		return false
	}
	if b := k.last(); b != nil && b.hold != nil && b.delta != nil && !b.empties() {
		b.hold.deadline = time.Now().Add(ttl)
		b.ttl = ttl
		return true
	}
	return false
}

// empties reports whether the batch may leave no session: it sets no key.
func (b *batch) empties() bool {
	return b.delta != nil && !b.delta.Empty() && len(b.delta.Set()) == 0
}

// mayBeEmpty reports whether the last change of the session, as far as is known here, has
// set nothing: by the rules of Apply the session may be gone.
func (s *Storage) mayBeEmpty(id string) bool {
	e, _ := s.slides.get(id)
	return e.emptied || s.lanes.emptying(id)
}

// emptying reports whether such a batch waits, or is at the store.
func (l *lanes) emptying(id string) (found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.lanes[id]; k != nil {
		k.each(func(b *batch) { found = found || b.empties() })
	}
	return found
}
