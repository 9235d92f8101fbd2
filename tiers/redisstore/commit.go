package redisstore

import (
	"context"
	"errors"
	"maps"
	"time"
	"unicode/utf8"

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
// The snapshot doesn't differ from what a Load reads: what was set is decoded from the
// bytes that were written. It is nil for an empty delta, and where there was nothing to
// write. Where a value can't be encoded, the caller gets the error and
// the session keeps what it had.
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
	return s.merge(ctx, m, key, delta, ms)
}

// merge guesses that the server still holds what the request was given, and where it
// doesn't, applies the delta to what it does hold. An attempt whose fate isn't known makes
// the delta conditional; an error of one that has stayed as it was says that nothing was
// written.
func (s *Storage) merge(ctx context.Context, m *measured, key string, delta *tiers.Delta, ms int64) (*tiers.Snapshot, error) {
	var (
		current = delta.Base()
		version = versionOf(current)
		see     = delta.Asks()
		losses  int
		faults  int
	)
	for {
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
		content, err := encode(next)
		if err == nil {
			err = wait(ctx, losses)
		}
		if err != nil {
			return nil, failed(delta, err)
		}
		before := time.Now()
		did, w, err := s.send(ctx, m, key, delta.Whole(), version, content, ms)
		switch {
		case err != nil:
			if w.isUncertain(err) {
				delta = doubted(delta, current)
			}
			if faults++; faults > s.retries || !passes(err) || !pause(ctx, faults) {
				return nil, failed(delta, err)
			}
			see = delta.Asks()
		case did.done:
			snapshot, err := merged(current, delta, next, content, before, ms)
			return snapshot, errors.Join(conflict, err)
		default:
			losses++
			if see = did.unknown; see {
				continue
			}
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

// doubted is the delta after an attempt on current that may have been applied.
func doubted(delta *tiers.Delta, current *tiers.Snapshot) *tiers.Delta {
	if formed, err := delta.Formed(form); err == nil {
		delta = formed
	}
	return delta.Conditional(current)
}

// failed is the error of a commit. Only that of a delta which no attempt has made
// conditional says that nothing was written.
func failed(delta *tiers.Delta, err error) error {
	if delta.IsConditional() {
		return err
	}
	return tiers.NotApplied(err)
}

// versionOf is the digest under which the server holds the snapshot, as far as it
// can be told. One that doesn't come from a Load is most likely what a request has
// just written; a wrong guess costs a round trip.
func versionOf(base *tiers.Snapshot) string {
	if base == nil {
		return absent
	}
	if version := base.Version(); version != "" {
		return version
	}
	content, err := encode(base.Map())
	if err != nil {
		return "unknown"
	}
	return digest(content)
}

// merged is the snapshot that a Load would answer now. What a Load gave is what it would
// give again, so that only the keys that were set are decoded.
func merged(current *tiers.Snapshot, delta *tiers.Delta, next map[string]any, content []byte, before time.Time, ms int64) (*tiers.Snapshot, error) {
	set := map[string]any{}
	for key := range delta.Set() {
		if value, ok := next[key]; ok {
			set[key] = value
		}
		if !utf8.ValidString(key) { // it may become another one in JSON
			return written(content, before, ms)
		}
	}
	if current == nil || current.Version() == "" || len(set) == len(next) {
		return written(content, before, ms)
	}
	if len(set) > 0 {
		formed, err := form(set)
		if err != nil {
			return nil, err
		}
		maps.Copy(next, formed)
	}
	return tiers.Adopt(next).Versioned(digest(content)).Expiring(after(before, ms)), nil
}

// written is the same of content that wasn't merged into what a Load gave.
func written(content []byte, before time.Time, ms int64) (*tiers.Snapshot, error) {
	snapshot, err := decode(content)
	if err != nil || snapshot == nil {
		return nil, err
	}
	return snapshot.Expiring(after(before, ms)), nil
}
