package coalesce

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/gogf/gf/v2/container/gmap"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/internal/value"
	"github.com/gf-strata/strata/tiers"
)

// requestHold is how long the per-key writes of one request are gathered if nothing
// ends the request, in synchronous mode.
const requestHold = 10 * time.Millisecond

func isDirect(ctx context.Context, store tiers.Storage) bool {
	return store.Style(ctx) == tiers.StyleDirect
}

// gather adds per-key writes of a direct store's session to what is pending. They go to the
// store together: when the request closes its session, or after the hold.
func (s *Storage) gather(ctx context.Context, id string, set map[string]any, removed []string, ttl time.Duration) error {
	delta, err := tiers.Add(set, removed...)
	if err != nil {
		return err
	}
	c := change{id: id, delta: delta, ttl: ttl, lone: isLone(s.form, delta), delay: s.interval.get()}
	c.pending = isPlain(delta) && ttl > 0 // what the store may refuse, its caller learns
	if c.delay == 0 {
		c.delay = requestHold
	}
	_, err = s.put(ctx, c)
	return err
}

// writeKeys brings a delta to a direct store: what was set in one call, what was
// removed in one a key.
func writeKeys(ctx context.Context, store tiers.Storage, id string, delta *tiers.Delta, ttl time.Duration) error {
	set, removed, conflict := tiers.Adopt(delta.Set()).Map(), delta.Removed(), error(nil)
	if delta.IsConditional() {
		read, err := store.Load(ctx, id, ttl)
		if err != nil {
			return err
		}
		set, removed, conflict = delta.Changes(read.Snapshot)
	}
	if len(set) > 0 {
		if err := store.SetMap(ctx, id, set, ttl); err != nil {
			return err
		}
	}
	for _, key := range removed {
		if err := store.Remove(ctx, id, key); err != nil {
			return failure.PartlyApplied(err)
		}
	}
	return conflict
}

// Set writes one key of a direct store's session. It returns at once; SetSession, as
// GoFrame calls it at the end of a request that has written, waits for the store unless
// writing behind. SetMap and Remove do the same.
func (s *Storage) Set(ctx context.Context, id, key string, value any, ttl time.Duration) error {
	if !isDirect(ctx, s.Storage) {
		return s.Storage.Set(ctx, id, key, value, ttl)
	}
	return s.gather(ctx, id, map[string]any{key: value}, nil, ttl)
}

// SetMap writes several keys.
func (s *Storage) SetMap(ctx context.Context, id string, data map[string]any, ttl time.Duration) error {
	if !isDirect(ctx, s.Storage) || len(data) == 0 {
		return s.Storage.SetMap(ctx, id, data, ttl)
	}
	return s.gather(ctx, id, data, nil, ttl)
}

// Remove removes one key, among other writes of the request. It doesn't get the ttl, so
// that without others it goes to the store at once.
func (s *Storage) Remove(ctx context.Context, id, key string) error {
	if !isDirect(ctx, s.Storage) {
		return s.Storage.Remove(ctx, id, key)
	}
	var before *time.Duration
	s.queues.inspect(id, func(k *sessionQueue) {
		if w := k.newest(); w != nil && w.delta != nil {
			ttl := w.ttl
			before = &ttl
		}
	})
	if before == nil {
		return s.Storage.Remove(ctx, id, key)
	}
	return s.gather(ctx, id, nil, []string{key}, *before)
}

// Get returns what is pending of the key, and otherwise what the store does.
func (s *Storage) Get(ctx context.Context, id, key string) (any, error) {
	if isDirect(ctx, s.Storage) {
		v, err := s.queues.before(ctx, id)
		defer v.leave()
		if err != nil {
			return nil, err
		}
		for n := len(v.changes) - 1; n >= 0; n-- {
			delta := v.changes[n].delta
			if value, set := delta.Set()[key]; set && delta.CanPreview() {
				return value, nil
			}
			if slices.Contains(delta.Removed(), key) {
				return nil, nil
			}
		}
	}
	return s.Storage.Get(ctx, id, key)
}

// Data returns all values, with what is pending.
func (s *Storage) Data(ctx context.Context, id string) (map[string]any, error) {
	if shown, err := s.shown(ctx, id); err != nil {
		return nil, err
	} else if shown != nil {
		return shown.Map(), nil
	}
	return s.Storage.Data(ctx, id)
}

// GetSize counts the keys, with those that are pending.
func (s *Storage) GetSize(ctx context.Context, id string) (int, error) {
	if shown, err := s.shown(ctx, id); err != nil || shown != nil {
		return shown.Len(), err
	}
	return s.Storage.GetSize(ctx, id)
}

// shown is a direct store's session with what is pending of it, nil if nothing is.
func (s *Storage) shown(ctx context.Context, id string) (*tiers.Snapshot, error) {
	if !isDirect(ctx, s.Storage) || s.queues.newest(id) == nil {
		return nil, nil
	}
	read, err := s.Load(ctx, id, 0)
	if err != nil || read.Outcome != tiers.OutcomePending {
		return nil, err
	}
	return read.Snapshot, nil
}

// getKeyed returns the map of a direct store's session, which is empty, and slides the
// expiry: GoFrame doesn't for a request that only reads.
func (s *Storage) getKeyed(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	v, err := s.queues.before(ctx, id)
	defer v.leave()
	if err != nil {
		return nil, err
	}
	m, err := s.Storage.GetSession(ctx, id, ttl)
	switch {
	case err != nil:
		return nil, err
	case m == nil && len(v.changes) > 0: // they begin the session
		return gmap.NewStrAnyMap(true), nil
	case m != nil:
		_, err = s.Slide(ctx, id, ttl)
	}
	return m, err
}

// setKeyed ends a request on a direct store.
func (s *Storage) setKeyed(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	extended := s.queues.extend(id, ttl)
	if extended && s.interval.get() > 0 {
		return nil
	}
	if w := s.queues.newest(id); w != nil && w.pending {
		if _, err := s.queues.claim(ctx, w); err != nil || extended {
			return err
		}
	}
	began := time.Now()
	err := s.Storage.SetSession(ctx, id, data, ttl)
	if err == nil {
		s.carrier.slides.set(id, expiry{at: began.Add(ttl)})
	}
	return err
}

// isPlain reports whether the delta sets only texts, numbers, booleans and times, which
// every store can keep in its way. A json.Number and a complex number are none: Redis'
// client can't send them.
func isPlain(delta *tiers.Delta) bool {
	for _, v := range delta.Set() {
		switch v.(type) {
		case json.Number, complex64, complex128:
			return false
		}
		if !value.IsScalar(v) {
			return false
		}
	}
	return true
}
