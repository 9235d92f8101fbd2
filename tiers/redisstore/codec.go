package redisstore

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// encode is what json.Marshal makes of a gmap.StrAnyMap with this content, byte for
// byte, which GoFrame's StorageRedis writes. The values are formed, so that it doesn't fail,
// and makes the same of the same ones.
func encode(data map[string]any) ([]byte, error) {
	if data == nil {
		return []byte("{}"), nil // null is no session
	}
	content, err := json.Marshal(data)
	if err != nil {
		return nil, tiers.NewError("strata: redis: a session can't be encoded as JSON", err)
	}
	return content, nil
}

// encodeFor adds white space, at random, where the session has begun anew under an id that was
// logged out: a commit of the old log-in that is on its way takes the new one for its own if
// the two are equal, as its digest is what distinguishes it from others.
func encodeFor(delta *tiers.Delta, data map[string]any) ([]byte, error) {
	content, err := encode(data)
	if err != nil || !delta.Recreates() {
		return content, err
	}
	for n := rand.Uint32() | 1<<31; n > 0; n >>= 2 {
		content = append(content, " \t\n\r"[n%4])
	}
	return content, nil
}

// decode makes a snapshot of what a key holds, with the Go types that StorageRedis
// gives, and the content's digest as its version; nil where it means no session.
func decode(content []byte) (*tiers.Snapshot, error) {
	data, err := unmarshal(content)
	if err != nil || data == nil {
		return nil, err
	}
	return tiers.Adopt(data).Versioned(digest(content)), nil
}

func unmarshal(content []byte) (data map[string]any, err error) {
	if len(content) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		return nil, decodeFault(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, tiers.NewError(decoding+"something follows the JSON object"+foreign, err)
	}
	return data, nil
}

const (
	decoding = "strata: redis: the key holds no session: "
	foreign  = "; give sessions keys of their own with redisstore.Prefix"
)

func decodeFault(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return tiers.NewError(decoding+"its value is JSON, but no object"+foreign, err)
	}
	return tiers.NewError(decoding+"its value isn't JSON"+foreign, err)
}

// digest distinguishes two states of one session; it keeps nothing secret. In
// hexadecimal it is what redis.sha1hex makes of the value.
func digest(content []byte) string {
	sum := sha1.Sum(content)
	return string(sum[:])
}

func hexOf(digest string) string { return hex.EncodeToString([]byte(digest)) }

var errTTL = tiers.NewError("strata: redis: a session needs a time to live; pass a positive ttl", nil)

// millis is the ttl in Redis' unit. A part of a millisecond counts as one, so that
// no session ends early.
func millis(ttl time.Duration) (int64, error) {
	if ttl <= 0 {
		return 0, errTTL
	}
	ms := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		ms++
	}
	return ms, nil
}

// after is the moment so many milliseconds later, 292 years at most.
func after(at time.Time, ms int64) time.Time {
	return at.Add(time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond)
}
