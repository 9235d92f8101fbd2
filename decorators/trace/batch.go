package trace

import (
	"context"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Batcher is nil where the storage below takes no batches.
func (s *Storage) Batcher() tiers.Batcher {
	if inner := tiers.BatcherOf(s.inner); inner != nil {
		return batcher{Storage: s, inner: inner}
	}
	return nil
}

// batcher is a Storage over one that takes batches.
type batcher struct {
	*Storage
	inner tiers.Batcher
}

// CommitAll is the inner storage's, with a span for all of it, that counts their keys
// and tells of the first failure. That a session was removed meanwhile is none.
func (b batcher) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	if !b.tracer.Wants(ctx) {
		return b.inner.CommitAll(ctx, commits)
	}
	ctx, op := b.begin(ctx, telemetry.CommitAll)
	defer op.end()
	results := b.inner.CommitAll(ctx, commits)
	keys := 0
	for _, commit := range commits {
		keys += len(commit.Delta.Set()) + len(commit.Delta.Removed())
	}
	op.done(telemetry.OK, keys, tiers.BatchFailure(results, func(r tiers.Committed) error { return r.Err }))
	return results
}

// Atomic is that of the storage below.
func (s *Storage) Atomic() bool { return tiers.IsAtomic(s.inner) }

// Reloader is nil where the storage below reads sessions only one by one.
func (s *Storage) Reloader() tiers.Reloader {
	if inner := tiers.ReloaderOf(s.inner); inner != nil {
		return reloader{Storage: s, inner: inner}
	}
	return nil
}

// reloader is a Storage over one that reads several sessions together.
type reloader struct {
	*Storage
	inner tiers.Reloader
}

// LoadAll is the inner storage's, with a span for all of it, that counts their keys
// and tells of the first failure.
func (r reloader) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	if !r.tracer.Wants(ctx) {
		return r.inner.LoadAll(ctx, loads)
	}
	ctx, op := r.begin(ctx, telemetry.LoadAll)
	defer op.end()
	results := r.inner.LoadAll(ctx, loads)
	keys := 0
	for _, result := range results {
		if result.Read.Snapshot != nil {
			keys += result.Read.Snapshot.Len()
		}
	}
	op.done(telemetry.OK, keys, tiers.BatchFailure(results, func(r tiers.Reloaded) error { return r.Err }))
	return results
}
