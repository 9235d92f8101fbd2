package sessionmap

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

const (
	ttl = time.Hour
	id  = "session-1"
)

type values = map[string]any

// core is a store of the capability in memory, as exact as redisstore: it merges
// each delta into what it holds. before runs ahead of every commit, without the
// lock; fail returns the next commits.
type core struct {
	gsession.StorageBase

	mu       sync.Mutex
	sessions map[string]*tiers.Snapshot
	commits  []*tiers.Delta
	loads    int
	before   func(id string)
	fail     error
}

var _ tiers.Storage = (*core)(nil)

func newCore() *core { return &core{sessions: map[string]*tiers.Snapshot{}} }

func (c *core) Style(context.Context) tiers.Style { return tiers.StyleSnapshot }

func (c *core) Load(_ context.Context, id string, _ time.Duration) (tiers.Read, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads++
	return tiers.Read{Snapshot: c.sessions[id]}, nil
}

func (c *core) Commit(_ context.Context, id string, delta *tiers.Delta, _ time.Duration) (*tiers.Snapshot, error) {
	if c.before != nil {
		c.before(id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return nil, c.fail
	}
	next, err := delta.Apply(c.sessions[id])
	if err != nil {
		return nil, err
	}
	c.commits = append(c.commits, delta)
	if next != nil {
		c.sessions[id] = tiers.Adopt(next)
	}
	return c.sessions[id], nil
}

func (c *core) Slide(context.Context, string, time.Duration) (time.Time, error) {
	return time.Time{}, nil
}

func (c *core) RemoveAll(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, id)
	return nil
}

// put writes behind the Maps, as another node does.
func (c *core) put(id string, data values) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[id] = tiers.Adopt(data)
}

// holds is what the store has now, nil where it has no session.
func (c *core) holds(id string) values {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[id] == nil {
		return nil
	}
	return c.sessions[id].Map()
}

func (c *core) commitCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.commits)
}

// front is a Maps as a chain has it: the maps of a core.
type front struct {
	gsession.StorageBase
	*Maps
	core *core
}

func newFront(c *core) *front { return &front{Maps: New(c), core: c} }

func (f *front) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return f.Maps.GetSession(ctx, id, ttl)
}

func (f *front) SetSession(ctx context.Context, id string, m *gmap.StrAnyMap, ttl time.Duration) error {
	return f.Maps.SetSession(ctx, id, m, ttl)
}

func (f *front) RemoveAll(ctx context.Context, id string) error {
	if err := f.core.RemoveAll(ctx, id); err != nil {
		return err
	}
	f.Removed(id)
	return nil
}

func (f *front) UpdateTTL(context.Context, string, time.Duration) error { return nil }

// get is GetSession of a session that must exist.
func (f *front) get(t testing.TB, id string) *gmap.StrAnyMap {
	t.Helper()
	m, err := f.GetSession(t.Context(), id, ttl)
	if err != nil || m == nil {
		t.Fatalf("GetSession = %v, %v; want a session", m, err)
	}
	return m
}

// set is SetSession that must succeed.
func (f *front) set(t testing.TB, id string, m *gmap.StrAnyMap) {
	t.Helper()
	if err := f.SetSession(t.Context(), id, m, ttl); err != nil {
		t.Fatalf("SetSession: %v", err)
	}
}

// session is a request's, whose map GoFrame makes where there is no session yet.
func (f *front) session(t testing.TB, id string, data values) *gsession.Session {
	t.Helper()
	s := gsession.New(ttl, f).New(t.Context(), id)
	if err := s.SetMap(data); err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *gsession.Session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func wantData(t testing.TB, got, want values) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 && (got == nil) == (want == nil) {
		return
	}
	if !equal(got, want) {
		t.Errorf("data = %v, want %v", got, want)
	}
}

func wantRevoked(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("error = %v, want ErrRevoked", err)
	}
}

// locked is a map that a program makes.
func locked(data values) *gmap.StrAnyMap { return gmap.NewStrAnyMapFrom(data, true) }

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }
