package coalesce

import (
	"context"
	"log/slog"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// behind accepts a change and answers at once. A session that begins goes to the store
// without delay, so that a log-in is seen by other nodes as soon as it can be. Whether a
// session is still there that another request may have emptied, only the store tells.
func (s *Storage) behind(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	if !delta.Creates() && s.mayBeEmpty(id) {
		return s.now(ctx, id, delta, ttl)
	}
	wait := s.options.interval
	if delta.Creates() {
		wait = 0
	}
	return s.accept(ctx, id, delta, ttl, wait)
}

func (s *Storage) accept(ctx context.Context, id string, delta *tiers.Delta, ttl, wait time.Duration) (*tiers.Snapshot, error) {
	held, shown, ok, err := s.lanes.accept(ctx, id, delta, ttl, wait)
	switch {
	case !ok:
		return s.now(ctx, id, delta, ttl) // the chain is being closed
	case err != nil && ctx.Err() != nil:
		return nil, tiers.UnderWay(ctx.Err())
	case err != nil:
		s.reporter.Warn(ctx, "journal", "strata: the journal failed, so that requests wait for the store",
			slog.String("error", tiers.Explain(err)))
		_, shown, err = s.lanes.claim(ctx, id, func(*lane) *batch { return held })
		return shown, err
	}
	return shown, nil
}

// mayBeEmpty reports whether the last change of the session, as far as is known here, has
// set nothing: by the rules of Apply the session may be gone.
func (s *Storage) mayBeEmpty(id string) bool {
	e, _ := s.slides.get(id)
	return e.emptied || s.lanes.emptying(id)
}
