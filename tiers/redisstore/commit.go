package redisstore

import (
	"context"
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
		return nil, err
	}
	ms, err := millis(ttl)
	if err != nil {
		return nil, err
	}
	switch {
	case delta.Empty():
		return nil, s.touch(ctx, m, key, delta.Base(), ms)
	case delta.Whole():
		return s.replace(ctx, m, key, delta, ms)
	default:
		return s.merge(ctx, m, key, delta, ms)
	}
}

// replace writes a delta that doesn't ask what is there.
func (s *Storage) replace(ctx context.Context, m *measured, key string, delta *tiers.Delta, ms int64) (*tiers.Snapshot, error) {
	next, err := delta.Apply(nil)
	if err != nil {
		return nil, err
	}
	content, err := encode(next)
	if err != nil {
		return nil, err
	}
	before := time.Now()
	if err = s.put(ctx, m, key, content, ms); err != nil {
		return nil, err
	}
	return written(content, before, ms)
}

// merge guesses that the server still holds what the request was given, and where
// it doesn't, applies the delta to what it does hold.
func (s *Storage) merge(ctx context.Context, m *measured, key string, delta *tiers.Delta, ms int64) (*tiers.Snapshot, error) {
	current := delta.Base()
	version := versionOf(current)
	for losses := 0; ; losses++ {
		next, err := delta.Apply(current)
		if err != nil || next == nil {
			return nil, err
		}
		content, err := encode(next)
		if err != nil {
			return nil, err
		}
		if err = wait(ctx, losses); err != nil {
			return nil, err
		}
		before := time.Now()
		done, found, err := s.swap(ctx, m, key, version, content, ms)
		if err != nil {
			return nil, err
		}
		if done {
			return merged(current, delta, next, content, before, ms)
		}
		if current, err = decode(found); err != nil {
			return nil, err
		}
		// An empty value and "null" are no session, yet they have a digest.
		if version = absent; found != nil {
			version = digest(found)
		}
	}
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
