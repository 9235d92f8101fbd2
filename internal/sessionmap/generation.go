package sessionmap

import "time"

// generations is a map that forgets what was put into it first: once young is full, or has lived
// for long enough, it takes the place of old, and what was there is forgotten. The zero value is
// empty. The owner's mutex guards it.
type generations[K comparable, V any] struct {
	young, old map[K]V
	began      time.Time // young
}

// age makes room for one more entry in young, and forgets what is older than two lives; a life of
// 0 has no end.
func (g *generations[K, V]) age(most int, life time.Duration) {
	now := time.Now()
	switch age := now.Sub(g.began); {
	case g.young == nil, life > 0 && age > 2*life:
		g.old, g.young, g.began = nil, map[K]V{}, now
	case life > 0 && age > life:
		g.old, g.young, g.began = g.young, map[K]V{}, g.began.Add(life)
	case len(g.young) >= most:
		g.old, g.young, g.began = g.young, map[K]V{}, now
	}
}

// get returns what was put last under the key.
func (g *generations[K, V]) get(key K) V {
	if v, ok := g.young[key]; ok {
		return v
	}
	return g.old[key]
}
