package web

import "sync"

// moves has a change of id wait for the commits of this node that are under way under the old one,
// and later ones for the change: so each of them is carried along or refused, however many there are.
// The chain takes along what other nodes commit meanwhile.
//
// mu guards ids and the number of users of each; an entry is there while it has users. A move is locked
// without mu, over a commit.
type moves struct {
	mu  sync.Mutex
	ids map[string]*move
}

type move struct {
	sync.RWMutex
	users int
}

// enter waits for its turn: alone, or beside all others who aren't alone.
func (m *moves) enter(id string, alone bool) (leave func()) {
	m.mu.Lock()
	if m.ids == nil {
		m.ids = map[string]*move{}
	}
	at := m.ids[id]
	if at == nil {
		at = &move{}
		m.ids[id] = at
	}
	at.users++
	m.mu.Unlock()
	if alone {
		at.Lock()
	} else {
		at.RLock()
	}
	return func() {
		if alone {
			at.Unlock()
		} else {
			at.RUnlock()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(m.ids, id)
		}
	}
}
