// Package mapped keeps each value of a session as a text, which a function makes: encrypted, say, or
// compressed. The keys stay as they are.
package mapped

import (
	"context"
	"time"

	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/tiers"
)

// Write returns the text, valid UTF-8, that stands for a value. It gives the same text for the
// same key and value, as a commit that is repeated compares what the store holds with what the
// request had been given (law 5).
type Write = func(key string, value any) (text string, err error)

// Read returns the value that Write was given, as it comes back from JSON, say.
type Read = func(key string, stored any) (value any, err error)

// New is the decorator around a storage.
func New(below tiers.Storage, write Write, read Read) tiers.Storage {
	return &mapped{Base: tiers.Base{Storage: below}, toText: write, toValue: read}
}

type mapped struct {
	tiers.Base
	toText  Write
	toValue Read
}

var _ tiers.Previewer = (*mapped)(nil)

// ChangesSessions has a cache above take no state from a layer below.
func (m *mapped) ChangesSessions() {}

func (m *mapped) write(key string, v any) (any, error) {
	text, err := m.toText(key, v)
	if err != nil {
		return nil, tiers.NewError("strata: a decorator couldn't map a session value", err)
	}
	return text, nil
}

func (m *mapped) read(key string, stored any) (any, error) {
	v, err := m.toValue(key, stored)
	if err != nil {
		return nil, tiers.NewError("strata: a decorator couldn't read a session value; see whether it has written it, with the same key", err)
	}
	return v, nil
}

func (m *mapped) readAll(read tiers.Read, err error) (tiers.Read, error) {
	if err == nil {
		read.Snapshot, err = read.Snapshot.MapValues(m.read)
	}
	if err != nil {
		return tiers.Read{}, err
	}
	return read, nil
}

// committed drops a state that can't be read: it is read again when it is wanted.
func (m *mapped) committed(s *tiers.Snapshot, err error) (*tiers.Snapshot, error) {
	state, unread := s.MapValues(m.read)
	if unread != nil {
		state = nil
	}
	return state, err
}

func (m *mapped) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	return m.readAll(m.Storage.Load(ctx, id, ttl))
}

func (m *mapped) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	below := make([]tiers.Reload, len(loads))
	for n, l := range loads {
		below[n] = tiers.Reload{ID: l.ID, TTL: l.TTL} // what is known has other values
	}
	results := m.Base.LoadAll(ctx, below)
	for n, r := range results {
		results[n].Read, results[n].Err = m.readAll(r.Read, r.Err)
	}
	return results
}

func (m *mapped) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	mapped, err := delta.MapValues(m.write, m.read)
	if err != nil {
		return nil, tiers.NotApplied(err)
	}
	return m.committed(m.Storage.Commit(ctx, id, mapped, ttl))
}

func (m *mapped) CommitAll(ctx context.Context, commits []tiers.Commit) []tiers.Committed {
	var (
		results = make([]tiers.Committed, len(commits))
		below   []tiers.Commit
		places  []int
	)
	for n, c := range commits {
		mapped, err := c.Delta.MapValues(m.write, m.read)
		if err != nil {
			results[n].Err = tiers.NotApplied(err)
			continue
		}
		c.Delta = mapped
		below, places = append(below, c), append(places, n)
	}
	if len(below) > 0 {
		for n, r := range m.Base.CommitAll(ctx, below) {
			results[places[n]].Snapshot, results[places[n]].Err = m.committed(r.Snapshot, r.Err)
		}
	}
	return results
}

// Preview returns the values as a Load gives them.
func (m *mapped) Preview(data map[string]any) (map[string]any, error) {
	written, err := value.Map(data, m.write)
	if err != nil {
		return nil, err
	}
	if !value.IsText(written) {
		return nil, tiers.NewError("strata: a decorator maps a session value to what isn't text", nil)
	}
	return value.Map(written, m.read)
}

func (m *mapped) Get(ctx context.Context, id, key string) (any, error) {
	stored, err := m.Storage.Get(ctx, id, key)
	if err != nil || stored == nil {
		return nil, err
	}
	return m.read(key, stored)
}

func (m *mapped) Data(ctx context.Context, id string) (map[string]any, error) {
	stored, err := m.Storage.Data(ctx, id)
	if err != nil || stored == nil {
		return nil, err
	}
	return value.Map(stored, m.read)
}

func (m *mapped) Set(ctx context.Context, id, key string, v any, ttl time.Duration) error {
	return m.SetMap(ctx, id, map[string]any{key: v}, ttl)
}

func (m *mapped) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	written, err := value.Map(data, m.write)
	if err != nil {
		return tiers.NotApplied(err)
	}
	return m.Storage.SetMap(ctx, id, written, ttl)
}
