package sessionmap

import (
	"sync"
	"time"

	"github.com/gf-strata/strata/internal/generations"
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
	mu     sync.Mutex
	counts generations.Map[uint64, int] // by the id's hash
}

func (a *absences) note(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts.Put(hashID(id), a.of(id)+1, generationSize)
}

// of counts the absences to take. It is called under mu.
func (a *absences) of(id string) int {
	a.counts.Age(absenceLife)
	count, _ := a.counts.Get(hashID(id))
	return count
}

// noted reports whether there is an absence to take.
func (a *absences) noted(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of(id) > 0
}

// take consumes one absence of the id.
func (a *absences) take(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	count := a.of(id)
	if count > 1 {
		a.counts.Put(hashID(id), count-1, generationSize)
	} else {
		a.counts.Delete(hashID(id))
	}
	return count > 0
}
