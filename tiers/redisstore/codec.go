package redisstore

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/gogf/gf/v2/util/gconv"

	"github.com/gf-strata/strata/tiers"
)

// encode is what json.Marshal makes of a gmap.StrAnyMap with this content, byte for
// byte: GoFrame's StorageRedis writes that.
func encode(data map[string]any) ([]byte, error) {
	content, err := json.Marshal(gconv.Map(data))
	if err != nil {
		return nil, encodeFault(err)
	}
	return content, nil
}

// encodeFault keeps the value, which json's own texts may quote, out of the text.
func encodeFault(err error) error {
	const encoding = "strata: redis: a session value can't be encoded as JSON: "
	var (
		kind  *json.UnsupportedTypeError
		value *json.UnsupportedValueError
	)
	switch {
	case errors.As(err, &kind):
		return tiers.NewError(encoding+"it is, or holds, a channel, a function, a complex number or a map whose keys aren't text or integers", err)
	case errors.As(err, &value):
		return tiers.NewError(encoding+"it is, or holds, NaN, an infinity or itself", err)
	default:
		return tiers.NewError(encoding+"its own MarshalJSON or MarshalText failed", err)
	}
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

var _ tiers.Former = (*Storage)(nil)

// Form answers the values as a Load will, or why they can't be encoded.
func (s *Storage) Form(data map[string]any) (map[string]any, error) { return form(data) }

func form(data map[string]any) (map[string]any, error) {
	if formed, ok := formPlain(data); ok {
		return formed, nil
	}
	content, err := encode(data)
	if err != nil {
		return nil, err
	}
	formed, err := unmarshal(content)
	if formed == nil {
		formed = map[string]any{}
	}
	return formed, err
}

// formPlain is form for the values that most sessions hold, without JSON.
func formPlain(data map[string]any) (formed map[string]any, ok bool) {
	formed = make(map[string]any, len(data))
	for key, value := range data {
		switch v := value.(type) {
		case nil, bool:
		case int:
			value = json.Number(strconv.Itoa(v))
		case int64:
			value = json.Number(strconv.FormatInt(v, 10))
		case string:
			if !utf8.ValidString(v) { // it becomes another one in JSON
				return nil, false
			}
		default:
			return nil, false
		}
		if !utf8.ValidString(key) {
			return nil, false
		}
		formed[key] = value
	}
	return formed, true
}
