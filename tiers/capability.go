package tiers

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/value"
)

// Batcher is the capability of a store that takes the commits of several sessions
// together, in fewer round trips than one after the other.
type Batcher interface {
	// CommitAll commits each on its own: one that fails doesn't stop the others. The
	// results are in the order of the commits, whose ids all differ.
	CommitAll(ctx context.Context, commits []Commit) []Committed
}

// BatcherOf returns a storage's capability to take batches, nil if it has none. A decorator
// that passes batches on has a method Batches, which reports whether the storage below takes them.
func BatcherOf(s Storage) Batcher {
	b, ok := s.(Batcher)
	if passes, may := s.(interface{ Batches() bool }); !ok || may && !passes.Batches() {
		return nil
	}
	return b
}

// Sharder is the capability of a store of several nodes, each of which may fail alone.
type Sharder interface {
	// Shard names the node that holds the session, as far as is known without asking one.
	Shard(id string) string
}

// ShardOf finds the store below s. One that isn't a Sharder is one node.
func ShardOf(s gsession.Storage) func(id string) string {
	if store, ok := Find[Sharder](s); ok {
		return store.Shard
	}
	return func(string) string { return "" }
}

// IsAtomic reports whether a storage compares what it holds and writes in one step, so that
// a conditional delta overwrites nothing that came in between. One that does, or passes
// commits on to one that does, has a method Atomic.
func IsAtomic(s Storage) bool {
	a, ok := s.(interface{ Atomic() bool })
	return ok && a.Atomic()
}

// Commit has the arguments of a Storage.Commit.
type Commit struct {
	ID    string
	Delta *Delta
	TTL   time.Duration
}

// Committed is the result of a Storage.Commit.
type Committed struct {
	Snapshot *Snapshot
	Err      error
}

// Reloader is the capability of a storage that reads several sessions together, in fewer
// round trips than one after the other.
type Reloader interface {
	// LoadAll loads each on its own: one that fails doesn't stop the others. The results
	// are in the order of the loads.
	LoadAll(ctx context.Context, loads []Reload) []Reloaded
}

// ReloaderOf returns a storage's capability to read several sessions together, nil if it has
// none. A decorator that passes such reads on has a method Reloads, which reports whether the
// storage below takes them.
func ReloaderOf(s Storage) Reloader {
	r, ok := s.(Reloader)
	if passes, may := s.(interface{ Reloads() bool }); !ok || may && !passes.Reloads() {
		return nil
	}
	return r
}

// Reload has the arguments of a Storage.Load.
type Reload struct {
	ID  string
	TTL time.Duration

	// Known is an earlier state of the session. If it is unchanged, the result may share its data.
	Known *Snapshot
}

// Reloaded is the result of a Storage.Load.
type Reloaded struct {
	Read Read
	Err  error
}

// Previewer is the capability of a store that knows, without being written to, how it
// would give values back.
type Previewer interface {
	// Preview returns the values as a Load gives them, or why they can't be stored. It doesn't
	// change what it is given, and what it returns may share values with that.
	Preview(data map[string]any) (map[string]any, error)
}

// Preview returns values as a store would give them back; see [Previewer].
type Preview func(data map[string]any) (map[string]any, error)

// PreviewOf finds the store below s. It returns nil for a store that isn't known: only texts are
// known to come back from it as they went in.
func PreviewOf(s gsession.Storage) Preview {
	for l := range Layers(s) {
		switch store := l.(type) {
		case Previewer:
			return store.Preview
		case *gsession.StorageRedis, *gsession.StorageFile:
			return PreviewJSON
		case *gsession.StorageMemory:
			return previewMemory
		}
	}
	return nil
}

// PreviewJSON is the preview of a store that keeps a session as a JSON object and reads its
// numbers as json.Number, as GoFrame's do. A value fails that can't be encoded, or could be
// written and never be read again.
func PreviewJSON(data map[string]any) (map[string]any, error) {
	previewed, err := value.JSON(data)
	return previewed, unkept(err)
}

// previewMemory is the preview of a store that keeps Go values. Those of a delta are copies.
func previewMemory(data map[string]any) (map[string]any, error) { return data, nil }

// SlideLimiter is a layer that skips slides which come soon after another, so that the
// layers above it don't as well.
type SlideLimiter interface {
	// SkipsSlide returns what Slide would, if it wouldn't ask the store: the moment is
	// zero if the store hasn't returned one.
	SkipsSlide(id string, ttl time.Duration) (until time.Time, skips bool)

	// Slid is the moment until which the store holds the session, as a Slide returned it last; zero
	// if that isn't known.
	Slid(id string) (until time.Time)
}

// Advice is something about a chain that works and would work better, or safer, otherwise.
type Advice struct {
	Topic string `json:"topic"` // one word, such as "prefix"
	Text  string `json:"text"`  // what it is and what to do instead
}

// Adviser is the capability of a layer that looks for Advice. It asks its server once at most, and leaves out
// what it can't find out.
type Adviser interface {
	Advise(ctx context.Context) []Advice
}
