package sessionmap

import (
	"sync"
	"time"
)

// absenceLife bounds how long a request may take from learning that there is no
// session to creating it, if others that do so at the same time are to be merged.
const absenceLife = time.Minute

// absences count the requests that have learnt that there is no session and have not
// written since. A map that a gsession.Session has made after that is an addition, so that
// two requests that create the same session at once both survive (law 5). One that it makes
// without having asked is of a new id, or of another's decorator that stands between.
//
// At most 65,536 ids are remembered, for one to two minutes; a request that falls
// out creates the session as a whole, as the bare store would. mu guards all fields.
type absences struct {
	mu sync.Mutex
	generations[uint64, int]
}

func (a *absences) note(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age(generationSize, absenceLife)
	a.young[hashID(id)]++
}

// noted reports whether there is an absence to take.
func (a *absences) noted(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age(generationSize, absenceLife)
	hash := hashID(id)
	return a.young[hash]+a.old[hash] > 0
}

// take consumes one absence of the id.
func (a *absences) take(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.age(generationSize, absenceLife)
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
