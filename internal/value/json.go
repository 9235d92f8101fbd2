package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// JSON returns the values as a store gives them back that keeps a session as a JSON object and
// reads its numbers as json.Number, as GoFrame's do. A value fails that can't be encoded, or
// could be written and never be read again. The result may share values with data.
func JSON(data map[string]any) (map[string]any, error) {
	formed := make(map[string]any, len(data))
	var rest map[string]any // what needs JSON
	for key, value := range data {
		if !utf8.ValidString(key) { // it becomes another one, and perhaps one that is there
			rest = data
			break
		}
		switch v := value.(type) {
		case nil, bool:
			formed[key] = v
			continue
		case int:
			formed[key] = json.Number(strconv.Itoa(v))
			continue
		case int64:
			formed[key] = json.Number(strconv.FormatInt(v, 10))
			continue
		case string:
			if utf8.ValidString(v) {
				formed[key] = v
				continue
			}
		}
		if rest == nil {
			rest = map[string]any{}
		}
		rest[key] = value
	}
	if rest == nil {
		return formed, nil
	}
	content, err := json.Marshal(rest)
	if err != nil {
		return nil, encodeFault(err)
	}
	if len(rest) == len(data) {
		clear(formed)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&formed); err != nil {
		return nil, errDeep // which a decoder refuses and an encoder doesn't
	}
	return formed, nil
}

// encodeFault keeps the value, which json's own texts may quote, out of the text.
func encodeFault(err error) error {
	const encoding = "strata: a session value can't be encoded as JSON: "
	var (
		kind  *json.UnsupportedTypeError
		value *json.UnsupportedValueError
	)
	switch {
	case errors.As(err, &kind):
		return &Error{encoding + "it is, or holds, a channel, a function, a complex number or a map whose keys aren't text or integers", err}
	case errors.As(err, &value):
		return &Error{encoding + "it is, or holds, NaN, an infinity or itself", err}
	default:
		return &Error{encoding + "its own MarshalJSON or MarshalText failed", err}
	}
}

// IsText reports whether all values are texts that every store gives back as they are.
func IsText(data map[string]any) bool {
	for key, value := range data {
		text, ok := value.(string)
		if !ok || !utf8.ValidString(text) || !utf8.ValidString(key) {
			return false
		}
	}
	return true
}
