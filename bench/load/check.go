package load

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Wrong is an answer that no storage may give: another session's data, none, or data
// that another request holds. It fails the run. It doesn't show the values.
type Wrong string

func (w Wrong) Error() string { return "wrong answer: " + string(w) }

// checkUnchanged finds out whether a key that is never written holds what it did.
func (s Shape) checkUnchanged(id, key string, got any) error {
	text, ok := got.(string)
	if !ok {
		return Wrong(fmt.Sprintf("%s is a %T, not the string that was stored", key, got))
	}
	const tail = nameLen + 1 + 4 + 1 // where the rest of the value begins
	if len(text) != tail+6+s.padding() || text[:nameLen] != id[:nameLen] ||
		text[nameLen+1:nameLen+5] != key || text[tail:tail+6] != id[nameLen:nameLen+6] {
		return Wrong(key + " isn't what its session holds")
	}
	return nil
}

// changed is the value that a key gets by its nth write.
func (s Shape) changed(id, key string, n uint64) string {
	text := make([]byte, 0, 32+s.padding())
	text = append(append(append(append(text, id[:nameLen]...), '.'), key...), '#')
	text = strconv.AppendUint(text, n, 10)
	if missing := s.padding() - 8; missing > 0 {
		text = append(append(text, '#'), strings.Repeat("=", missing)...)
	}
	return string(text)
}

// checkChanged returns which write a key's value is of, 0 if none has changed it.
func (s Shape) checkChanged(id, key string, got any) (uint64, error) {
	text, ok := got.(string)
	if ok && len(text) > nameLen+5 && text[nameLen+5] == '.' {
		return 0, s.checkUnchanged(id, key, got)
	}
	if !ok || len(text) < nameLen+7 || text[:nameLen] != id[:nameLen] || text[nameLen+1:nameLen+5] != key || text[nameLen+5] != '#' {
		return 0, Wrong(key + ", which requests write, isn't what its session holds")
	}
	digits, _, _ := strings.Cut(text[nameLen+6:], "#")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, Wrong(key + " isn't what any request wrote")
	}
	return n, nil
}

// checkCart looks at what is nested, and then scribbles into it, as a careless handler
// does, if the subject claims that nothing handed out is shared. If it is shared,
// the next request gets a wrong result.
func checkCart(id string, got any, scribble bool) error {
	if text, ok := got.(string); ok { // a hash field is text; gvar's Map decodes it as well
		var cart map[string]any
		if json.Unmarshal([]byte(text), &cart) == nil {
			got = cart
		}
	}
	cart, ok := got.(map[string]any)
	if !ok {
		return Wrong(fmt.Sprintf("the cart is a %T, not a map", got))
	}
	items, ok := cart["items"].([]any)
	if !ok || len(items) != 3 {
		return Wrong("the cart has lost its items")
	}
	for _, item := range items {
		if item, ok := item.(map[string]any); !ok || item["owner"] != id[:nameLen] {
			return Wrong("the cart holds what isn't its session's: it is another's, or what another request did to a map that is shared")
		}
	}
	if scribble {
		items[1].(map[string]any)["owner"] = "scribble"
	}
	return nil
}
