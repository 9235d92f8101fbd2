package layertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// Fault wraps a store to count its writes and to make them fail, with an error or a
// panic. The zero value does neither. mu guards all fields.
type Fault struct {
	mu     sync.Mutex
	store  gsession.Storage
	err    error
	panics bool
	writes int
}

// Wrap is what the layers are put on.
func (f *Fault) Wrap(store gsession.Storage) gsession.Storage {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store = store
	return &faulty{Storage: store, fault: f}
}

// Fail makes writes fail with err, or succeed again where it is nil.
func (f *Fault) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Panic makes writes panic, or not.
func (f *Fault) Panic(panics bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = panics
}

// Writes counts the writes that have reached the store.
func (f *Fault) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Store is what was wrapped.
func (f *Fault) Store() gsession.Storage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.store
}

// write is asked ahead of each write. UpdateTTL counts as one.
func (f *Fault) write() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.panics {
		panic("layertest: the store panics")
	}
	if f.err != nil {
		return refused{f.err}
	}
	return nil
}

// refused is the error of a write that the store was never given, and says so to those who
// may try again.
type refused struct{ error }

func (r refused) Unwrap() error    { return r.error }
func (r refused) NotApplied() bool { return true }

// faulty embeds the store, and overrides what writes.
type faulty struct {
	gsession.Storage
	fault *Fault
}

// disabled reports whether the store takes no per-key calls, which then aren't writes.
func (f *faulty) disabled(ctx context.Context) bool {
	_, err := f.Storage.Get(ctx, "layertest", "layertest")
	return errors.Is(err, gsession.ErrorDisabled)
}

func (f *faulty) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if !f.disabled(ctx) {
		if err := f.fault.write(); err != nil {
			return err
		}
	}
	return f.Storage.Set(ctx, id, key, value, ttl)
}

func (f *faulty) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if !f.disabled(ctx) {
		if err := f.fault.write(); err != nil {
			return err
		}
	}
	return f.Storage.SetMap(ctx, id, data, ttl)
}

func (f *faulty) Remove(ctx context.Context, id, key string) error {
	if !f.disabled(ctx) {
		if err := f.fault.write(); err != nil {
			return err
		}
	}
	return f.Storage.Remove(ctx, id, key)
}

func (f *faulty) RemoveAll(ctx context.Context, id string) error {
	if err := f.fault.write(); err != nil {
		return err
	}
	return f.Storage.RemoveAll(ctx, id)
}

func (f *faulty) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	if err := f.fault.write(); err != nil {
		return err
	}
	return f.Storage.SetSession(ctx, id, data, ttl)
}

func (f *faulty) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	if err := f.fault.write(); err != nil {
		return err
	}
	return f.Storage.UpdateTTL(ctx, id, ttl)
}
