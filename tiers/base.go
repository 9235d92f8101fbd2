package tiers

import (
	"context"
	"iter"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
)

// Layers yields a storage and those below it, outermost first, as far as they have a method
// Unwrap() gsession.Storage.
func Layers(s gsession.Storage) iter.Seq[gsession.Storage] {
	return func(yield func(gsession.Storage) bool) {
		for s != nil && yield(s) {
			wrapper, ok := s.(interface{ Unwrap() gsession.Storage })
			if !ok {
				return
			}
			s = wrapper.Unwrap()
		}
	}
}

// Find returns the outermost layer that is a T, s and its store included. A chain knows all of
// its layers, so that a decorator without Unwrap hides none.
func Find[T any](s gsession.Storage) (found T, ok bool) {
	for l := range Layers(s) {
		if found, ok = l.(T); ok {
			return found, true
		}
		if chain, is := l.(interface{ Layers() []gsession.Storage }); is {
			for _, l := range chain.Layers() {
				if found, ok = Find[T](l); ok {
					return found, true
				}
			}
		}
	}
	return found, false
}

// Base passes everything on to the storage below, batches, reloads and reports included. A
// decorator embeds it, has methods of its own for what it looks at or changes, and is made by
// layer.Around.
//
// Sessions also pass through LoadAll, which reads several again in the background, and CommitAll. A decorator
// that changes what Load returns or what Commit is given has these two as well, and a method
// ChangesSessions(): then a cache above it takes no state from a layer below it.
type Base struct{ Storage }

var (
	_ Batcher  = Base{}
	_ Reloader = Base{}
)

// Unwrap returns the storage below.
func (b Base) Unwrap() gsession.Storage { return b.Storage }

// Batches reports whether the storage below takes batches.
func (b Base) Batches() bool { return BatcherOf(b.Storage) != nil }

// CommitAll passes a batch on, one commit after the other if the storage below takes none.
func (b Base) CommitAll(ctx context.Context, commits []Commit) []Committed {
	if below := BatcherOf(b.Storage); below != nil {
		return below.CommitAll(ctx, commits)
	}
	results := make([]Committed, len(commits))
	for n, c := range commits {
		results[n].Snapshot, results[n].Err = b.Storage.Commit(ctx, c.ID, c.Delta, c.TTL)
	}
	return results
}

// Reloads reports whether the storage below reads several sessions together.
func (b Base) Reloads() bool { return ReloaderOf(b.Storage) != nil }

// LoadAll passes the loads on, one after the other if the storage below reads sessions one by one.
func (b Base) LoadAll(ctx context.Context, loads []Reload) []Reloaded {
	if below := ReloaderOf(b.Storage); below != nil {
		return below.LoadAll(ctx, loads)
	}
	results := make([]Reloaded, len(loads))
	for n, l := range loads {
		results[n].Read, results[n].Err = b.Storage.Load(ctx, l.ID, l.TTL)
	}
	return results
}

// Atomic reports what IsAtomic does of the storage below.
func (b Base) Atomic() bool { return IsAtomic(b.Storage) }

// Report says to what is below where to report.
func (b Base) Report(to *telemetry.Sink) { telemetry.ReportTo(b.Storage, to) }
