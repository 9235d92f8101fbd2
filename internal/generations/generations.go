// Package generations has a map that forgets what was put into it first.
package generations

import "time"

// Map is of two halves: once the young one is full, or has lived for long enough, it takes the
// place of the old one, whose entries are forgotten. The zero value is empty. The owner's mutex
// guards it.
type Map[K comparable, V any] struct {
	young, old map[K]V
	began      time.Time // young
}

// Put keeps a value; a half has so many at most.
func (m *Map[K, V]) Put(key K, value V, most int) {
	if m.young == nil || len(m.young) >= most {
		m.old, m.young, m.began = m.young, map[K]V{}, time.Now()
	}
	m.young[key] = value
}

// Age forgets what is older than two lives.
func (m *Map[K, V]) Age(life time.Duration) {
	switch age := time.Since(m.began); {
	case age > 2*life:
		m.old, m.young = nil, nil
	case age > life:
		m.old, m.young, m.began = m.young, map[K]V{}, m.began.Add(life)
	}
}

// Get returns what was put last under the key.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = m.young[key]; !ok {
		value, ok = m.old[key]
	}
	return value, ok
}

// Delete forgets what was put under the key.
func (m *Map[K, V]) Delete(key K) {
	delete(m.young, key)
	delete(m.old, key)
}

// Len counts what is kept; what was put under one key in both halves counts twice.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
