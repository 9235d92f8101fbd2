package local

import (
	"context"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Commit passes the delta on, and keeps what the store says that it became, unless
// another write of the id was heard of meanwhile. Whatever the outcome, nothing
// older is served afterwards (law 3): a commit that failed may have been applied.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	hash := s.guard.Hash(id)
	switch {
	case delta.Empty():
		return s.unchanged(ctx, hash, id, delta, ttl)
	case s.sources.told.Load():
		return s.commitTold(ctx, hash, id, delta, ttl)
	}
	c, began := s.begin(hash, true), s.now()
	var written *entry
	defer func() { s.wrote(c, written) }()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if err == nil && (snapshot != nil || s.options.exclusive) {
		written = &entry{id: id, snapshot: snapshot, loaded: began, kept: later(began, ttl.Truncate(time.Second)), echo: s.echoes.of(ttl)}
	}
	return snapshot, err
}

// commitTold leaves it to the layer below that merges commits to say what the session
// has become: it does before the commit returns, in the order in which commits happen.
func (s *Storage) commitTold(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	c, began := s.begin(hash, true), s.now()
	told := false
	var written *entry
	defer func() {
		if told {
			s.leave(c)
		} else {
			s.wrote(c, written)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	told = err == nil && snapshot.Told()
	if err == nil && s.options.exclusive { // the state isn't known, but that the store has it
		written = &entry{id: id, loaded: began, kept: later(began, ttl.Truncate(time.Second))}
	}
	return snapshot, err
}

// RemoveAll removes the session below, and here whatever the outcome.
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	defer s.outdate(s.guard.Hash(id), telemetry.InvalidatedByWrite)
	err := s.inner.RemoveAll(ctx, id)
	if err == nil {
		s.face.Removed(id)
	}
	return err
}
