// Package teststore is a snapshot store in memory for tests of what stands on one: as
// exact as a real store, and slow, failing or silent where a test wants it to be.
package teststore

import (
	"context"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// Store is a snapshot store with the capability, that counts what reaches it and
// does what a test needs of it. mu guards all fields but the hooks, which are set
// before use.
type Store struct {
	gsession.StorageBase

	Silent   bool                                       // shows no expiry, and no state after a commit
	Mute     bool                                       // shows no expiry after a slide
	OnLoad   func(ctx context.Context, id string)       // before a load reads
	OnLoaded func(id string)                            // after a load has read
	OnCommit func(ctx context.Context, id string) error // after a commit has been applied

	mu       sync.Mutex
	refuse   func(id string) error
	sessions map[string]*tiers.Snapshot
	expires  map[string]time.Time
	loads    int
	commits  int
	slides   []time.Duration
}

// New makes an empty store.
func New() *Store {
	return &Store{sessions: map[string]*tiers.Snapshot{}, expires: map[string]time.Time{}}
}

var _ tiers.Storage = (*Store)(nil)

// Put writes behind every tier's back, as another node does.
func (s *Store) Put(id string, data map[string]any, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = tiers.Adopt(data)
	s.expires[id] = time.Now().Add(life)
}

// Persist takes the session's expiry away, until one is set again.
func (s *Store) Persist(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires[id] = time.Time{}
}

// Drop removes behind every tier's back.
func (s *Store) Drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

// Count returns what has reached the store.
func (s *Store) Count() (loads, commits, slides int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads, s.commits, len(s.slides)
}

// read is called under mu.
func (s *Store) read(id string) *tiers.Snapshot {
	snapshot := s.sessions[id]
	switch at := s.expires[id]; {
	case snapshot == nil || !at.IsZero() && !time.Now().Before(at):
		return nil
	case s.Silent:
		return snapshot
	default:
		return snapshot.Expiring(at)
	}
}

// Expires returns when the session ends.
func (s *Store) Expires(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expires[id]
}

func (s *Store) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

func (s *Store) Load(ctx context.Context, id string, _ time.Duration) (tiers.Read, error) {
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	if s.OnLoad != nil {
		s.OnLoad(ctx, id)
	}
	s.mu.Lock()
	snapshot := s.read(id)
	s.mu.Unlock()
	if s.OnLoaded != nil {
		s.OnLoaded(id)
	}
	return tiers.Read{Snapshot: snapshot}, ctx.Err()
}

func (s *Store) Commit(ctx context.Context, id string, delta *tiers.Delta, life time.Duration) (*tiers.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, tiers.NotApplied(err)
	}
	if err := s.refused(id); err != nil {
		return nil, tiers.NotApplied(err)
	}
	s.mu.Lock()
	s.commits++
	next, conflict := delta.Apply(s.read(id))
	if next == nil {
		s.mu.Unlock()
		return nil, conflict
	}
	s.sessions[id] = tiers.Adopt(next)
	s.expires[id] = time.Now().Add(life)
	snapshot := s.read(id)
	s.mu.Unlock()
	if s.OnCommit != nil {
		if err := s.OnCommit(ctx, id); err != nil {
			return nil, err
		}
	}
	if s.Silent || conflict != nil {
		return nil, conflict
	}
	return snapshot, nil
}

func (s *Store) Slide(_ context.Context, id string, life time.Duration) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slides = append(s.slides, life)
	if s.read(id) == nil || s.Silent {
		return time.Time{}, nil
	}
	s.expires[id] = time.Now().Add(life)
	if s.Mute {
		return time.Time{}, nil
	}
	return s.expires[id], nil
}

func (s *Store) UpdateTTL(ctx context.Context, id string, life time.Duration) error {
	_, err := s.Slide(ctx, id, life)
	return err
}

func (s *Store) RemoveAll(_ context.Context, id string) error {
	if err := s.refused(id); err != nil {
		return err
	}
	s.Drop(id)
	return nil
}

// Refuse asks f before a commit or a removal is applied; nil ends that.
func (s *Store) Refuse(f func(id string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

func (s *Store) refused(id string) error {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse == nil {
		return nil
	}
	return refuse(id)
}

// Atomic says that a commit compares and writes in one step.
func (s *Store) Atomic() bool { return true }

// Preview returns copies: the store keeps values as they are.
func (s *Store) Preview(data map[string]any) (map[string]any, error) {
	snapshot, err := tiers.NewSnapshot(data)
	if err != nil {
		return nil, err
	}
	return snapshot.Map(), nil
}
