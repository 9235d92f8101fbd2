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
	token, _ := s.echoes.begin(hash)
	began := s.now()
	done := false
	defer func() {
		if !done {
			s.echoes.finish(hash, token, nil)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if err != nil {
		return snapshot, err
	}
	done = true
	if snapshot == nil && !s.options.exclusive {
		s.echoes.finish(hash, token, nil)
		return nil, nil
	}
	s.echoes.finish(hash, token, &entry{
		id: id, ttl: ttl, snapshot: snapshot, loaded: began,
		// GoFrame's stores cut a time to live to whole seconds.
		kept: began + int64(ttl.Truncate(time.Second)),
	})
	return snapshot, nil
}

// commitTold leaves it to the layer below that merges commits to say what the session
// has become: it does before the commit returns, in the order in which commits happen.
func (s *Storage) commitTold(ctx context.Context, hash uint64, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	began, stamp := s.now(), s.guard.Hold(hash)
	told := false
	defer func() {
		if !told {
			s.outdate(hash, telemetry.InvalidatedByWrite)
		}
	}()
	snapshot, err := s.inner.Commit(ctx, id, delta, ttl)
	if told = err == nil && snapshot.Told(); err != nil || told || !s.options.exclusive {
		return snapshot, err
	}
	// The state isn't known, but that the store has it.
	if next, ok := s.guard.BumpFrom(hash, stamp); ok {
		told = true
		s.keep(hash, &entry{id: id, ttl: ttl, stamp: next, loaded: began, kept: began + int64(ttl.Truncate(time.Second))})
	}
	return snapshot, nil
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
