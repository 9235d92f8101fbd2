package layer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
	"pgregory.net/rapid"

	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers/local"
)

// model is what sessions should hold, and what requests under way should do to them.
type model struct {
	chain    *layer.Stack
	manager  *gsession.Manager
	sessions map[string]map[string]string
	removals map[string]int // log-outs so far
	requests []*request
}

// request is a Session under way and what it was given.
type request struct {
	session *gsession.Session
	id      string
	base    map[string]string
	data    map[string]string
	stamp   int  // removals when base was read
	dirty   bool // it has called a setter
	removed bool // it has removed its session itself
}

func newModel(t *rapid.T) *model {
	pieces := map[string]func() layer.Decorator{
		"Local":           func() layer.Decorator { return patientLocal() },
		"Local exclusive": func() layer.Decorator { return patientLocal(layer.Exclusive(), guardSlots(2)) },
		"Local no memory": func() layer.Decorator { return patientLocal(layer.MaxStale(0)) },
		"Coalesced":       func() layer.Decorator { return patientCoalesced() },
		"Behind":          func() layer.Decorator { return patientCoalesced(layer.WriteBehind(time.Millisecond)) },
		"Far behind":      func() layer.Decorator { return patientCoalesced(layer.WriteBehind(time.Hour)) },
		"Traced":          func() layer.Decorator { return layer.Traced() },
		"stranger":        func() layer.Decorator { return strange },
	}
	stores := map[string]func() gsession.Storage{
		"exact":         func() gsession.Storage { return layer.Chain(teststore.New()) },
		"StorageMemory": func() gsession.Storage { return gsession.NewStorageMemory() },
		"documented": func() gsession.Storage {
			return layer.FromDocumented(documented{gsession.NewStorageMemory()})
		},
	}
	names := []string{"Local", "Local exclusive", "Local no memory", "Coalesced", "Behind", "Far behind", "Traced", "stranger"}
	var decorators []layer.Decorator
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 5).Draw(t, "decorators") {
		decorators = append(decorators, pieces[name]())
	}
	store := rapid.SampledFrom([]string{"exact", "StorageMemory", "documented"}).Draw(t, "store")
	chain := layer.Chain(stores[store](), decorators...)
	return &model{
		chain: chain, manager: gsession.New(time.Hour, chain),
		sessions: map[string]map[string]string{}, removals: map[string]int{},
	}
}

var modelIDs = rapid.SampledFrom([]string{"one", "two"})

func (m *model) some(t *rapid.T) *request {
	if len(m.requests) == 0 {
		t.Skip("no request is under way")
	}
	return m.requests[rapid.IntRange(0, len(m.requests)-1).Draw(t, "request")]
}

// Begin loads a session for a request that goes on.
func (m *model) Begin(t *rapid.T) {
	id := modelIDs.Draw(t, "id")
	s := m.manager.New(context.Background(), id)
	m.compare(t, id, s)
	m.requests = append(m.requests, &request{
		session: s, id: id, base: maps.Clone(m.sessions[id]), data: copyOf(m.sessions[id]), stamp: m.removals[id],
	})
}

func (m *model) compare(t *rapid.T, id string, s *gsession.Session) {
	got, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	want := m.sessions[id]
	if len(got) != len(want) {
		t.Fatalf("the session %q holds %v, want %v", id, got, want)
	}
	for key, value := range want {
		if fmt.Sprint(got[key]) != value {
			t.Fatalf("the session %q holds %v, want %v", id, got, want)
		}
	}
}

func copyOf(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

func (m *model) Read(t *rapid.T) {
	id := modelIDs.Draw(t, "id")
	m.compare(t, id, m.manager.New(context.Background(), id))
}

func (m *model) Set(t *rapid.T) {
	r := m.some(t)
	key, value := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), rapid.StringN(0, 2, -1).Draw(t, "value")
	r.session.MustSet(key, value)
	r.data[key], r.dirty = value, true
}

func (m *model) Remove(t *rapid.T) {
	r := m.some(t)
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
	r.session.MustRemove(key)
	delete(r.data, key)
	r.dirty = true
}

// RemoveAll is a request's own log-out; it goes on afterwards.
func (m *model) RemoveAll(t *rapid.T) {
	r := m.some(t)
	if err := r.session.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	delete(m.sessions, r.id)
	m.removals[r.id]++
	clear(r.data)
	r.dirty, r.removed, r.stamp = true, true, m.removals[r.id]
}

// Close ends a request, twice now and then, as GoFrame does where a middleware has
// closed the session already.
func (m *model) Close(t *rapid.T) {
	n := len(m.requests)
	r := m.some(t)
	for i, other := range m.requests {
		if other == r {
			m.requests[i] = m.requests[n-1]
			m.requests = m.requests[:n-1]
			break
		}
	}
	err := r.session.Close()
	refused := r.dirty && m.apply(r)
	if refused != errors.Is(err, layer.ErrRevoked) || err != nil && !refused {
		t.Fatalf("Close returns %v, want a refusal: %v", err, refused)
	}
	if err == nil && rapid.Bool().Draw(t, "closed twice") {
		if err := r.session.Close(); err != nil {
			t.Fatalf("the second Close returns %v", err)
		}
	}
	m.compare(t, r.id, m.manager.New(context.Background(), r.id))
}

// apply is the rule of a close: what the request changed joins what is there. It
// reports whether the request is refused.
func (m *model) apply(r *request) (refused bool) {
	current := m.sessions[r.id]
	cleared := true
	for key := range r.base {
		if _, kept := r.data[key]; kept {
			cleared = false
		}
	}
	gone := m.removals[r.id] > r.stamp || len(current) == 0
	switch {
	case r.removed && m.removals[r.id] > r.stamp && len(r.base) > 0:
		// Logged out by another request after its own log-out: what it set is new.
	case !r.removed && len(r.base) > 0 && gone && maps.Equal(r.base, r.data):
		return false // nothing is lost
	case !r.removed && len(r.base) > 0 && gone && !cleared:
		return true
	}
	next := copyOf(current)
	for key, value := range r.data {
		if before, had := r.base[key]; r.removed || !had || before != value || gone {
			next[key] = value
		}
	}
	if !r.removed && !gone {
		for key := range r.base {
			if _, kept := r.data[key]; !kept {
				delete(next, key)
			}
		}
	}
	if len(next) > 0 || current != nil {
		m.sessions[r.id] = next
	}
	return false
}

// TestModel drives random stacks with random requests that overlap, and compares what
// they see with the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer func() {
			if err := m.chain.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"Begin": m.Begin, "Read": m.Read, "Set": m.Set, "Remove": m.Remove, "RemoveAll": m.RemoveAll, "Close": m.Close,
		})
	})
}

// guardSlots has sessions share counters of which most have one of their own otherwise.
func guardSlots(n int) layer.LocalOption { return func(o *local.Options) { o.GuardSlots = n } }
