package sessionmap

import (
	"sync"
	"time"
)

// absenceLife bounds how long a request may take from being told that there is no
// session to creating it, if others that do so at the same time are to be merged.
const absenceLife = time.Minute

// absences count the requests that were told that there is no session and have not
// written since. A map that a gsession.Session has made after that is an addition, so that
// two requests that create the same session at once both survive (law 5). One that it makes
// without having been told is of a new id, or of a stranger's that stands between.
//
// At most 65,536 ids are remembered, for one to two minutes; a request that falls
// out creates the session as a whole, as the bare store would. mu guards all fields.
type absences struct {
	mu    sync.Mutex
	young map[uint64]int
	old   map[uint64]int
	began time.Time
}

func (a *absences) note(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age()
	a.young[hashID(id)]++
}

// noted reports whether there is an absence to take.
func (a *absences) noted(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age()
	hash := hashID(id)
	return a.young[hash]+a.old[hash] > 0
}

// take consumes one absence of the id.
func (a *absences) take(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age()
	hash := hashID(id)
	for _, generation := range []map[uint64]int{a.young, a.old} {
		switch n := generation[hash]; {
		case n > 1:
			generation[hash]--
			return true
		case n == 1:
			delete(generation, hash)
			return true
		}
	}
	return false
}

func (a *absences) age() {
	now := time.Now()
	switch age := now.Sub(a.began); {
	case a.young == nil, age > 2*absenceLife:
		a.old, a.young, a.began = nil, map[uint64]int{}, now
	case age > absenceLife:
		a.old, a.young, a.began = a.young, map[uint64]int{}, a.began.Add(absenceLife)
	case len(a.young) >= generationSize:
		a.old, a.young, a.began = a.young, map[uint64]int{}, now
	}
}
