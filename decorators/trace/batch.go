package trace

import (
	"context"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Batches reports whether the storage below takes batches.
func (s *Storage) Batches() bool { return tiers.BatcherOf(s.inner) != nil }

// CommitAll is the inner storage's, with a span for all of it, that counts their keys
// and tells of the first failure. That a session was removed meanwhile is none.
func (s *Storage) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	inner := tiers.BatcherOf(s.inner)
	if !s.tracer.Wants(ctx) {
		return inner.CommitAll(ctx, commits)
	}
	ctx, op := s.begin(ctx, telemetry.CommitAll)
	defer op.end()
	results := inner.CommitAll(ctx, commits)
	keys := 0
	for _, commit := range commits {
		keys += len(commit.Delta.Set()) + len(commit.Delta.Removed())
	}
	op.done(telemetry.OK, keys, tiers.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
	return results
}

// Atomic is that of the storage below.
func (s *Storage) Atomic() bool { return tiers.IsAtomic(s.inner) }

// Reloads reports whether the storage below reads several sessions together.
func (s *Storage) Reloads() bool { return tiers.ReloaderOf(s.inner) != nil }

// LoadAll is the inner storage's, with a span for all of it, that counts their keys
// and tells of the first failure.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	inner := tiers.ReloaderOf(s.inner)
	if !s.tracer.Wants(ctx) {
		return inner.LoadAll(ctx, loads)
	}
	ctx, op := s.begin(ctx, telemetry.LoadAll)
	defer op.end()
	results := inner.LoadAll(ctx, loads)
	keys := 0
	for _, result := range results {
		if result.Read.Snapshot != nil {
			keys += result.Read.Snapshot.Len()
		}
	}
	op.done(telemetry.OK, keys, tiers.BatchFailure(results, func(r tiers.Reloaded) error { return r.Err }))
	return results
}
