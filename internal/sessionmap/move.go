package sessionmap

import (
	"sync"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// move is a session that was taken to another id, and whose old one is about to end.
type move struct {
	from, to string
	change   *tiers.Delta    // of the request that took it there
	carried  *tiers.Snapshot // what the old id held when it was last looked at
	ttl      time.Duration
	at       time.Time
}

// keep leaves the keys as carried that the request has changed itself: under the new id its
// change holds.
func (m *move) keep(data map[string]any) {
	carried := m.carried.Map()
	reset := func(key string) {
		delete(data, key)
		if value, has := carried[key]; has {
			data[key] = value
		}
	}
	for key := range m.change.Set() {
		reset(key)
	}
	for _, key := range m.change.Removed() {
		reset(key)
	}
}

const (
	moveLife  = 10 * time.Second // between a change of id and the end of the old one
	mostMoves = 64
)

// moves are the sessions of which RegenerateId is about to remove the old id. mu guards all.
type moves struct {
	mu  sync.Mutex
	all map[string]move
}

// note remembers a move. Of many at once some are forgotten: their old ids end without a look.
func (m *moves) note(moved move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for id, other := range m.all {
		if now.Sub(other.at) > moveLife || len(m.all) >= mostMoves {
			delete(m.all, id)
		}
	}
	if m.all == nil {
		m.all = map[string]move{}
	}
	moved.at = now
	m.all[moved.from] = moved
}

// take forgets a move.
func (m *moves) take(id string) (moved move, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	moved, ok = m.all[id]
	delete(m.all, id)
	return moved, ok && time.Since(moved.at) <= moveLife
}
