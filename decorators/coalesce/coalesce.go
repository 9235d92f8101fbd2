// Package coalesce merges the writes of a session that overlap, so that they reach
// the store as few commits.
//
// Each session has a lane. While a commit of it is at the store, the changes that
// come meanwhile join into one next commit, and each caller waits for the commit
// that holds its own. Commits of different sessions that are due at the same moment
// go to the store together where it can take a batch.
package coalesce

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// Storage merges the commits of a snapshot storage. A write that has returned nil is
// in the store (law 7): the caller's cancellation ends its waiting, never the commit.
// Other styles of storage are passed through. Safe for concurrent use.
//
// It runs as many goroutines as there are sessions being written, at most four where
// the store takes batches. What waits is bounded by who waits: one commit for each
// session beside the one that is at the store, of at most what its callers brought.
//
// All fields are set by New and guard themselves.
type Storage struct {
	wrapped gsession.Storage
	inner   tiers.Storage
	face    *tiers.Face
	lanes   lanes
	slides  slides
}

var _ tiers.Storage = (*Storage)(nil)

// New merges the writes that reach a storage.
func New(inner gsession.Storage, opts ...Option) *Storage {
	o := defaults()
	for _, opt := range opts {
		if opt == nil {
			panic("strata: an option of layer.Coalesced is nil; pass what a constructor returns, or leave it out")
		}
		opt(&o)
	}
	s := &Storage{wrapped: inner, inner: tiers.Of(inner)}
	s.face = tiers.NewFace(s)
	s.lanes.init(s.inner, o.writeTimeout)
	return s
}

// Unwrap returns the storage below.
func (s *Storage) Unwrap() gsession.Storage { return s.wrapped }

// Style is that of the storage below.
func (s *Storage) Style(ctx context.Context) tiers.Style { return s.inner.Style(ctx) }

func (s *Storage) snapshots(ctx context.Context) bool {
	return s.Style(ctx) == tiers.StyleSnapshot
}

// Load is passed on: what a caller was told is written, is in the store. It waits for
// writes of the session that a caller has left, so that nobody keeps what was read
// before they are applied.
func (s *Storage) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	if err := s.lanes.settle(ctx, id); err != nil {
		return tiers.Read{}, err
	}
	return s.inner.Load(ctx, id, ttl)
}

// Commit returns when the store holds the change, alone or merged with others, or
// when ctx ends; the change goes on to the store then, also where ctx had ended before:
// GoFrame closes the session of a client that went away under such a context.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	began := time.Now()
	snapshot, err := s.lanes.commit(ctx, id, delta, ttl)
	if err == nil {
		s.slides.set(id, began.Add(ttl), snapshot != nil)
	}
	return snapshot, err
}

// RemoveAll removes the session and annuls every change of it that waits: those are
// answered with ErrRevoked. It waits for a commit that is at the store already, so
// that nothing brings the session back once it has returned (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	s.slides.forget(id)
	if err := s.lanes.remove(ctx, id); err != nil {
		return err
	}
	s.face.Removed(id)
	return nil
}

// Flush returns when every change that was accepted before the call is in the store
// or has failed, or when ctx ends; then the error counts the changes that wait.
func (s *Storage) Flush(ctx context.Context) error { return s.lanes.flush(ctx) }

// Close flushes and waits for its goroutines until ctx ends. Calls that come later
// go to the storage below.
func (s *Storage) Close(ctx context.Context) error { return s.lanes.close(ctx) }

// GetSession hands out a copy of the session.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if !s.snapshots(ctx) {
		return s.inner.GetSession(ctx, id, ttl)
	}
	return s.face.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since it was handed out.
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if !s.snapshots(ctx) {
		return s.inner.SetSession(ctx, id, data, ttl)
	}
	return s.face.SetSession(ctx, id, data, ttl)
}

// New is passed on, as all that follows is.
func (s *Storage) New(ctx context.Context, ttl time.Duration) (string, error) {
	return s.inner.New(ctx, ttl)
}

func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	return s.inner.Get(ctx, id, key)
}

func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	return s.inner.Data(ctx, id)
}

func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	return s.inner.GetSize(ctx, id)
}

func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	return s.inner.Set(ctx, id, key, value, ttl)
}

func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	return s.inner.SetMap(ctx, id, data, ttl)
}

func (s *Storage) Remove(ctx context.Context, id, key string) error {
	return s.inner.Remove(ctx, id, key)
}
