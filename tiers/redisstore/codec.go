package redisstore

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"

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
// the two are equal, as it is told from others by its digest.
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

// digest tells two states of one session apart; nothing is kept secret by it. In
// hexadecimal it is what redis.sha1hex makes of the value.
func digest(content []byte) string {
	sum := sha1.Sum(content)
	return string(sum[:])
}

func hexOf(digest string) string { return hex.EncodeToString([]byte(digest)) }

var _ tiers.Previewer = (*Storage)(nil)

// Preview returns the values as a Load will, or why they can't be encoded.
func (s *Storage) Preview(data map[string]any) (map[string]any, error) {
	return tiers.PreviewJSON(data)
}
