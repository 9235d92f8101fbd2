package layertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// faults wraps a store to count its writes and to make them fail, with an error or a
// panic. The zero value does neither. mu guards all fields.
type faults struct {
	mu     sync.Mutex
	store  gsession.Storage
	err    error
	panics bool
	writes int
	done   int // of writes, without an error

	before, after func() // run before and after the next SetSession of id
	id            string
}

// Wrap wraps the store on which the layers are put.
func (f *faults) Wrap(store gsession.Storage) gsession.Storage {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store = store
	return &faulty{Storage: store, fault: f}
}

// Fail makes writes fail with err, or succeed again where it is nil.
func (f *faults) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Panic makes writes panic, or not.
func (f *faults) Panic(panics bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = panics
}

// Writes counts the writes that have reached the store.
func (f *faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// accepted counts the writes that the store has accepted.
func (f *faults) accepted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// Store returns the store that was wrapped.
func (f *faults) Store() gsession.Storage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.store
}

// meanwhile has the two run before and after the next SetSession of the id, as other nodes do. With an
// after, that SetSession returns an error although it was applied: its reply is lost.
func (f *faults) meanwhile(id string, before, after func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id, f.before, f.after = id, before, after
}

func (f *faults) takeMeanwhile(id string) (before, after func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != f.id {
		return nil, nil
	}
	before, after = f.before, f.after
	f.before, f.after = nil, nil
	return before, after
}

// write passes a write on and counts it, or fails it. UpdateTTL counts as one.
func (f *faults) write(apply func() error) error {
	if err := f.begin(); err != nil {
		return err
	}
	err := apply()
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.done++
	}
	return err
}

func (f *faults) begin() error {
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

// refused is the error of a write that didn't reach the store. NotApplied lets a caller try it again.
type refused struct{ error }

func (r refused) Unwrap() error    { return r.error }
func (r refused) NotApplied() bool { return true }

// faulty embeds the store, and overrides the methods that write.
type faulty struct {
	gsession.Storage
	fault *faults
}

// writeKey is write, if the store takes per-key calls: disabled ones aren't writes.
func (f *faulty) writeKey(ctx context.Context, apply func() error) error {
	if _, err := f.Storage.Get(ctx, "layertest", "layertest"); errors.Is(err, gsession.ErrorDisabled) {
		return apply()
	}
	return f.fault.write(apply)
}

func (f *faulty) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	return f.writeKey(ctx, func() error { return f.Storage.Set(ctx, id, key, value, ttl) })
}

func (f *faulty) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	return f.writeKey(ctx, func() error { return f.Storage.SetMap(ctx, id, data, ttl) })
}

func (f *faulty) Remove(ctx context.Context, id, key string) error {
	return f.writeKey(ctx, func() error { return f.Storage.Remove(ctx, id, key) })
}

func (f *faulty) RemoveAll(ctx context.Context, id string) error {
	return f.fault.write(func() error { return f.Storage.RemoveAll(ctx, id) })
}

func (f *faulty) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	before, after := f.fault.takeMeanwhile(id)
	if before != nil {
		before()
	}
	err := f.fault.write(func() error { return f.Storage.SetSession(ctx, id, data, ttl) })
	if after != nil && err == nil {
		after()
		return errors.New("layertest: the connection broke")
	}
	return err
}

func (f *faulty) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	return f.fault.write(func() error { return f.Storage.UpdateTTL(ctx, id, ttl) })
}
