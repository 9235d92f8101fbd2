package tiers

import (
	"context"
	"iter"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/value"
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
// A session also comes by LoadAll, which reads again in the background, and goes by CommitAll:
// a decorator that changes what Load returns or Commit is given changes those as well.
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

// Mapped is a Base under which each value is a text: it encrypts, say, or compresses. The keys
// stay as they are.
type Mapped struct {
	Base

	// Write returns the text, valid UTF-8, that stands for a value. It gives the same text for
	// the same key and value, as a commit that is repeated compares what the store holds with
	// what the request had been given (law 5).
	Write func(key string, value any) (text string, err error)

	// Read returns the value that Write was given, as it comes back from JSON, say.
	Read func(key string, stored any) (value any, err error)
}

var _ Previewer = (*Mapped)(nil)

func (m *Mapped) write(key string, v any) (any, error) {
	text, err := m.Write(key, v)
	if err != nil {
		return nil, NewError("strata: a decorator couldn't map a session value", err)
	}
	return text, nil
}

func (m *Mapped) read(key string, stored any) (any, error) {
	v, err := m.Read(key, stored)
	if err != nil {
		return nil, NewError("strata: a decorator couldn't read a session value; see whether it has written it, with the same key", err)
	}
	return v, nil
}

func (m *Mapped) readAll(read Read, err error) (Read, error) {
	if err == nil {
		read.Snapshot, err = read.Snapshot.mapValues(m.read)
	}
	if err != nil {
		return Read{}, err
	}
	return read, nil
}

// committed drops a state that can't be read: it is read again when it is wanted.
func (m *Mapped) committed(s *Snapshot, err error) (*Snapshot, error) {
	state, unread := s.mapValues(m.read)
	if unread != nil {
		state = nil
	}
	return state, err
}

// Load returns the session with its values.
func (m *Mapped) Load(ctx context.Context, id string, ttl time.Duration) (Read, error) {
	return m.readAll(m.Storage.Load(ctx, id, ttl))
}

// LoadAll returns the sessions with their values.
func (m *Mapped) LoadAll(ctx context.Context, loads []Reload) []Reloaded {
	below := make([]Reload, len(loads))
	for n, l := range loads {
		below[n] = Reload{ID: l.ID, TTL: l.TTL} // what is known has other values
	}
	results := m.Base.LoadAll(ctx, below)
	for n, r := range results {
		results[n].Read, results[n].Err = m.readAll(r.Read, r.Err)
	}
	return results
}

// Commit passes on the change of the texts.
func (m *Mapped) Commit(ctx context.Context, id string, delta *Delta, ttl time.Duration) (*Snapshot, error) {
	mapped, err := delta.mapValues(m.write, m.read)
	if err != nil {
		return nil, NotApplied(err)
	}
	return m.committed(m.Storage.Commit(ctx, id, mapped, ttl))
}

// CommitAll passes on the changes of the texts.
func (m *Mapped) CommitAll(ctx context.Context, commits []Commit) []Committed {
	var (
		results = make([]Committed, len(commits))
		below   []Commit
		places  []int
	)
	for n, c := range commits {
		mapped, err := c.Delta.mapValues(m.write, m.read)
		if err != nil {
			results[n].Err = NotApplied(err)
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
func (m *Mapped) Preview(data map[string]any) (map[string]any, error) {
	written, err := mapValues(data, m.write)
	if err != nil {
		return nil, err
	}
	if !value.IsText(written) {
		return nil, NewError("strata: a decorator maps a session value to what isn't text", nil)
	}
	return mapValues(written, m.read)
}

// Get reads one value of a direct store.
func (m *Mapped) Get(ctx context.Context, id, key string) (any, error) {
	stored, err := m.Storage.Get(ctx, id, key)
	if err != nil || stored == nil {
		return nil, err
	}
	return m.read(key, stored)
}

// Data reads all values of a direct store.
func (m *Mapped) Data(ctx context.Context, id string) (map[string]any, error) {
	stored, err := m.Storage.Data(ctx, id)
	if err != nil || stored == nil {
		return nil, err
	}
	return mapValues(stored, m.read)
}

// Set writes one value of a direct store.
func (m *Mapped) Set(ctx context.Context, id, key string, v any, ttl time.Duration) error {
	return m.SetMap(ctx, id, map[string]any{key: v}, ttl)
}

// SetMap writes values of a direct store.
func (m *Mapped) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	written, err := mapValues(data, m.write)
	if err != nil {
		return NotApplied(err)
	}
	return m.Storage.SetMap(ctx, id, written, ttl)
}
