package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

var _ tiers.InvalidationSource = (*Storage)(nil)

// source is a storage's Watcher while there are listeners. options are set at
// construction; mu guards the rest.
type source struct {
	options []WatchOption

	mu        sync.Mutex
	watcher   *Watcher
	listeners int
	closed    bool
}

// WatchLease is the Lease of a storage that is watched.
func WatchLease(d time.Duration) Option {
	mustLease("WatchLease", d)
	return func(s *Storage) { s.source.options = []WatchOption{Lease(d)} }
}

// Subscribe tells the listener of the changes of sessions, whoever makes them, as Watcher
// says, until stop is called or the storage is closed. The connections to the server
// are made for the first listener, and closed with the last.
func (s *Storage) Subscribe(l tiers.InvalidationListener) (stop func()) {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if s.source.closed {
		return func() {}
	}
	if s.source.watcher == nil {
		s.source.watcher = watch(s.client, s.paths, s.prefix, s.source.options)
	}
	w := s.source.watcher
	leave := w.Subscribe(l)
	s.source.listeners++
	return sync.OnceFunc(func() {
		leave()
		if !s.source.left(w) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
		defer cancel()
		_ = w.Close(ctx)
	})
}

// InvalidationErr is why nothing is announced at present, as Watcher's InvalidationErr says.
func (s *Storage) InvalidationErr() error {
	s.source.mu.Lock()
	w := s.source.watcher
	s.source.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.InvalidationErr()
}

// left counts off a listener of the watcher, and reports whether it was the last one.
func (s *source) left(w *Watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners--; s.listeners > 0 || s.watcher != w {
		return false
	}
	s.watcher = nil
	return true
}

// close ends the watch for good.
func (s *source) close(ctx context.Context) error {
	s.mu.Lock()
	w := s.watcher
	s.watcher, s.closed = nil, true
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Close(ctx)
}
