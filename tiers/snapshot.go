package tiers

import (
	"maps"
	"reflect"
	"time"

	"github.com/gf-strata/strata/internal/value"
)

// Snapshot is the immutable state of one session at one moment (law 2). It may be
// shared by any number of goroutines; a layer that hands data out hands out a copy.
//
// No field is written after the constructor has returned.
type Snapshot struct {
	data    map[string]any
	nested  []string // keys whose values a shallow copy would share
	size    int64
	version string
	read    time.Time
	expires time.Time

	known     bool // when it expires
	published bool
	unpacked  bool // its texts are parts of one
}

// snapshotBytes is a Snapshot itself; TestSizeIsAboutRight holds it against the heap.
const snapshotBytes = 112

// NewSnapshot copies data, nested values included. It fails if a value can't be
// copied: one that contains itself, or is nested more than 10,000 deep.
func NewSnapshot(data map[string]any) (*Snapshot, error) {
	isolated, err := value.CopyMap(data)
	if err != nil {
		return nil, unkept(err)
	}
	return Adopt(isolated), nil
}

// Adopt makes a snapshot of a map without a copy: the caller lets go of it, nested
// values included.
func Adopt(data map[string]any) *Snapshot {
	s := adopt(data) // so that only the last of several methods that copy it allocates
	return &s
}

func adopt(data map[string]any) Snapshot {
	s := Snapshot{data: data}
	s.size = snapshotBytes + value.MapSize(len(data))
	for key, v := range data {
		if !value.IsScalar(v) {
			s.nested = append(s.nested, key)
		}
		s.size += int64(len(key)) + value.Size(v)
	}
	return s
}

// Expiring returns the same state with the moment at which the store drops it; the
// zero time means that it never does.
func (s *Snapshot) Expiring(at time.Time) *Snapshot {
	c := *s
	c.expires, c.known = at, true
	return &c
}

// Versioned returns the same state with a mark by which its store knows it again.
func (s *Snapshot) Versioned(mark string) *Snapshot {
	c := *s
	c.version = mark
	return &c
}

// Anew returns the same state without what is known of one reading of it: its expiry, and
// what ReadAt and AsPublished have noted.
func (s *Snapshot) Anew() *Snapshot {
	return &Snapshot{data: s.data, nested: s.nested, size: s.size, version: s.version, unpacked: s.unpacked}
}

// ReadAt returns the same state with the moment before which its load from the store
// began, for a state that isn't as new as the call that returns it.
func (s *Snapshot) ReadAt(began time.Time) *Snapshot {
	c := *s
	c.read = began
	return &c
}

// Read is the moment given with ReadAt, the zero time if none was.
func (s *Snapshot) Read() time.Time { return s.read }

// AsPublished returns the same state with the mark that the caches above a CommitFeed have it.
func (s *Snapshot) AsPublished() *Snapshot {
	c := *s
	c.published = true
	return &c
}

// Published reports whether the state has the mark of AsPublished.
func (s *Snapshot) Published() bool { return s != nil && s.published }

// Same reports whether both hold the same data.
func (s *Snapshot) Same(other *Snapshot) bool {
	return s == other || s != nil && other != nil && reflect.DeepEqual(s.data, other.data)
}

// Expires is when the store drops the session, on the monotonic clock of this
// process; the zero time means never. It isn't known for stores that don't say.
func (s *Snapshot) Expires() (at time.Time, known bool) { return s.expires, s.known }

// Version is the mark given with Versioned.
func (s *Snapshot) Version() string { return s.version }

// Len is the number of keys, 0 for no session.
func (s *Snapshot) Len() int {
	if s == nil {
		return 0
	}
	return len(s.data)
}

// clone is a new map of the state that shares its values. Texts that are parts of one text are
// copied: a value that stays mustn't hold those that are removed.
func (s *Snapshot) clone() map[string]any {
	switch {
	case s == nil || s.data == nil:
		return map[string]any{}
	case s.unpacked:
		if data, err := value.OwnMap(s.data); err == nil {
			return data
		}
	}
	return maps.Clone(s.data)
}

// Size is the memory that the snapshot takes, in bytes, about right.
func (s *Snapshot) Size() int64 { return s.size }

// Data is the state itself. It must not be changed.
func (s *Snapshot) Data() map[string]any { return s.data }

// Map returns a copy of the whole state that is the caller's alone.
func (s *Snapshot) Map() map[string]any {
	m := maps.Clone(s.data)
	if m == nil {
		return map[string]any{}
	}
	for _, key := range s.nested {
		m[key] = value.MustCopy(s.data[key])
	}
	return m
}

// MapValues returns the same state with other values, which f makes of copies of these. No cache has
// been notified of it.
func (s *Snapshot) MapValues(f func(key string, value any) (any, error)) (*Snapshot, error) {
	if s == nil {
		return nil, nil
	}
	data, err := value.Map(s.Map(), f)
	if err != nil {
		return nil, err
	}
	mapped := Adopt(data)
	mapped.version, mapped.expires, mapped.known = s.version, s.expires, s.known
	mapped.read, mapped.unpacked = s.read, s.unpacked
	return mapped, nil
}

// Get returns a copy of one value that is the caller's alone, and nil if there
// is no such key.
func (s *Snapshot) Get(key string) any {
	v := s.data[key]
	if value.IsScalar(v) {
		return v
	}
	return value.MustCopy(v)
}

// Pack appends the data and the version, in about a third of the memory that a Snapshot
// takes, without what is known of one reading of it. It is false for data with other types than
// those that JSON decodes to.
func (s *Snapshot) Pack(b []byte) (_ []byte, ok bool) {
	return value.Pack(b, s.version, s.size, s.data)
}

// Unpack returns the Snapshot that Pack has appended. Its texts are parts of packed.
func Unpack(packed string) *Snapshot {
	s := &Snapshot{unpacked: true}
	s.version, s.size, s.data, s.nested = value.Unpack(packed)
	return s
}
