package change

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"slices"

	"github.com/gf-strata/strata/internal/value"
)

// record is a change as a journal keeps it, in JSON. Of the state that the request was
// given it holds the keys that the request changed, and marks of some others, by which the
// session is known again.
type record struct {
	Kind    Kind           `json:"kind"`
	Had     bool           `json:"had,omitempty"`
	Cleared bool           `json:"cleared,omitempty"`
	Set     map[string]any `json:"set,omitempty"`
	Removed []string       `json:"removed,omitempty"`
	Before  map[string]any `json:"before,omitempty"`
	Others  []uint64       `json:"others,omitempty"`
}

// mostMarks bounds the marks in a record.
const mostMarks = 16

// markOf is a mark of a key and its value, the same in every process.
func markOf(key string, value any) (mark uint64, ok bool) {
	content, err := json.Marshal(value)
	if err != nil {
		return 0, false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(content)
	return h.Sum64(), true
}

// Encode encodes the change for Decode.
func (c *Change) Encode() ([]byte, error) {
	r := record{Kind: c.Kind, Had: c.Had, Cleared: c.Cleared, Set: c.Set, Removed: c.Removed}
	if c.Kind == Update {
		r.Before = map[string]any{}
		for key, value := range c.Base {
			if _, sets := c.Set[key]; sets || slices.Contains(c.Removed, key) {
				r.Before[key] = value
			} else if mark, ok := markOf(key, value); ok && len(r.Others) < mostMarks {
				r.Others = append(r.Others, mark)
			}
		}
		for mark := range c.Marks {
			r.Others = append(r.Others, mark)
		}
	}
	content, err := json.Marshal(r)
	if err != nil {
		return nil, &value.Error{Text: "strata: a session value can't be kept in the journal: it can't be encoded as JSON"}
	}
	return content, nil
}

// Decode is the change that Encode has encoded. Time has passed since: it changes
// only keys that the store holds as the request had seen them, and is refused, as ever,
// if the session is gone. sent says that it may have begun its session.
func Decode(content []byte, sent bool) (Change, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&r); err != nil || r.Kind > Update {
		return Change{}, &value.Error{Text: "strata: a record of the journal is no change of a session"}
	}
	c := Change{Kind: r.Kind, Had: r.Had, Cleared: r.Cleared, Set: r.Set, Removed: r.Removed, Previewed: true, Conditional: true, Sent: sent}
	if r.Kind == Update {
		c.Base, c.Marks = r.Before, map[uint64]bool{}
		for _, mark := range r.Others {
			c.Marks[mark] = true
		}
	}
	return c, nil
}
