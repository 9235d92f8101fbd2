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
	"slices"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// encode returns the bytes that json.Marshal makes of a gmap.StrAnyMap with this content, as GoFrame's StorageRedis
// writes them. The values have been through JSON before, so that it doesn't fail and is the same each time. Most are
// texts that need no escape; the rest is left to json.Marshal.
func encode(data map[string]any) (content []byte, err error) {
	var few [16]string
	keys, size := few[:0], 2
	for key, value := range data {
		keys = append(keys, key)
		text, _ := value.(string)
		size += len(key) + len(text) + 6
	}
	slices.Sort(keys)
	content = append(make([]byte, 0, size), '{')
	for n, key := range keys {
		if n > 0 {
			content = append(content, ',')
		}
		if content, err = appendText(content, key); err != nil {
			return nil, err
		}
		content = append(content, ':')
		switch value := data[key].(type) {
		case string:
			content, err = appendText(content, value)
		default:
			content, err = appendValue(content, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(content, '}'), nil
}

func appendText(content []byte, text string) ([]byte, error) {
	if !isPlain(text) {
		return appendValue(content, text)
	}
	return append(append(append(content, '"'), text...), '"'), nil
}

func appendValue(content []byte, value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, tiers.NewError("strata: redis: a session can't be encoded as JSON", err)
	}
	return append(content, encoded...), nil
}

// isPlain reports whether a text needs no escape in JSON, nor in HTML.
func isPlain(text string) bool {
	for n := range len(text) {
		if c := text[n]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
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
