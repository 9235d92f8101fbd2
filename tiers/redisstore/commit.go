package redisstore

import (
	"context"
	"time"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// Commit merges the delta into what the server holds, atomically there. It takes
// one round trip where nobody has written since the delta's base was read, and one
// more for each write that came in between, until ctx ends. A delta that replaces
// the session takes one, and an empty one only slides the expiry.
//
// What fails in the network is sent again, as often as the client's MaxRetries says. Where
// the answer to an attempt was lost, what follows is conditional: see [tiers.ErrConflict].
//
// The snapshot doesn't differ from what a Load reads: what was set is encoded and decoded
// once, before anything is sent, and what that gives is written. It is nil for an empty
// delta, and where there was nothing to write. Where a value can't be encoded, or couldn't
// be decoded again, the caller gets the error and the session keeps what it had.
func (s *Storage) Commit(ctx context.Context, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	m := s.measure()
	defer m.end(ctx, telemetry.Commit)
	snapshot, err := s.commit(ctx, m, id, delta, ttl)
	m.done(err)
	return snapshot, err
}

func (s *Storage) commit(ctx context.Context, m *measured, id string, delta *tiers.Delta, ttl time.Duration) (*tiers.Snapshot, error) {
	key, err := s.key(id)
	if err != nil {
		return nil, failed(delta, err)
	}
	ms, err := millis(ttl)
	if err != nil {
		return nil, failed(delta, err)
	}
	if delta.Empty() {
		return nil, s.touch(ctx, m, key, delta.Base(), ms)
	}
	if delta, err = delta.Previewed(tiers.PreviewJSON); err != nil {
		return nil, tiers.NotApplied(err)
	}
	return s.merge(ctx, m, key, delta, ms)
}

// merge guesses that the server still holds what the request was given, and where it
// doesn't, applies the delta to what it does hold. An attempt whose fate isn't known makes
// the delta conditional; an error of one that has stayed as it was says that nothing was
// written.
func (s *Storage) merge(ctx context.Context, m *measured, key string, delta *tiers.Delta, ms int64) (*tiers.Snapshot, error) {
	current, version, ok := guess(delta.Base())
	for see, losses, faults := delta.NeedsCurrent() || !ok, 0, 0; ; {
		if see {
			var err error
			if current, version, err = s.see(ctx, m, key); err != nil {
				return nil, failed(delta, err)
			}
		}
		next, conflict := delta.Apply(current)
		if next == nil {
			return nil, conflict
		}
		content, err := encodeFor(delta, next)
		if err == nil {
			err = wait(ctx, losses)
		}
		if err != nil {
			return nil, failed(delta, err)
		}
		before := time.Now()
		did, w, err := s.send(ctx, m, key, delta.Replaces(), version, content, ms)
		switch {
		case err != nil:
			if w.isUncertain(err) {
				delta = delta.Conditional(current)
			}
			if faults++; faults > s.retries || !passes(err) || !pause(ctx, faults) {
				return nil, failed(delta, err)
			}
			see = delta.NeedsCurrent()
		case did.done:
			return written(next, content, before, ms), conflict
		default:
			losses++
			if see = did.unknown; see {
				continue
			}
			var err error
			if current, version, err = held(did.found); err != nil {
				return nil, failed(delta, err)
			}
		}
	}
}

// see reads what the server holds.
func (s *Storage) see(ctx context.Context, m *measured, key string) (current *tiers.Snapshot, version string, err error) {
	content, _, _, err := s.read(ctx, m, key)
	if err != nil {
		return nil, "", err
	}
	return held(content)
}

// held is the session that a key holds, nil for none, and its version. An empty value and
// "null" are no session, yet they have a digest.
func held(content []byte) (current *tiers.Snapshot, version string, err error) {
	if content == nil {
		return nil, absent, nil
	}
	current, err = decode(content)
	return current, digest(content), err
}

// failed is the error of a commit. Only that of a delta which no attempt has made
// conditional says that nothing was written.
func failed(delta *tiers.Delta, err error) error {
	if delta.IsConditional() {
		return err
	}
	return tiers.NotApplied(err)
}

// guess is what the server holds if nobody has written since the request was given base,
// and the version under which it does. What doesn't come from a Load is most likely what a
// request has just written; a wrong guess costs a round trip. It isn't ok for what can't
// have been written.
func guess(base *tiers.Snapshot) (current *tiers.Snapshot, version string, ok bool) {
	if base == nil {
		return nil, absent, true
	}
	if version = base.Version(); version != "" {
		return base, version, true
	}
	formed, err := tiers.PreviewJSON(base.Map())
	if err != nil {
		return nil, "", false
	}
	content, err := encode(formed)
	return tiers.Adopt(formed), digest(content), err == nil
}

// written is the snapshot that a Load would return now.
func written(data map[string]any, content []byte, before time.Time, ms int64) *tiers.Snapshot {
	return tiers.Adopt(data).Versioned(digest(content)).Expiring(after(before, ms))
}
