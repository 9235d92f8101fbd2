package local

import (
	"sync"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// sources are the layers below that tell of changes which didn't come from here. mu
// guards all fields.
type sources struct {
	mu     sync.Mutex
	heard  map[gsession.Storage]bool
	stops  []func()
	closed bool
}

// Hear listens to the given layer, and to those below that it shows with Unwrap, for
// changes of sessions that aren't made through this tier. The constructor does so; a
// chain tells of layers behind one without Unwrap.
func (s *Storage) Hear(below gsession.Storage) {
	for below != nil {
		if a, ok := below.(tiers.Announcer); ok {
			s.sources.add(below, func() func() {
				return a.Announce(func(id string) { s.guard.Bump(s.guard.Hash(id)) })
			})
		}
		wrapper, ok := below.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return
		}
		below = wrapper.Unwrap()
	}
}

// add listens, once for each layer.
func (s *sources) add(layer gsession.Storage, listen func() (stop func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.heard[layer] {
		return
	}
	if s.heard == nil {
		s.heard = map[gsession.Storage]bool{}
	}
	s.heard[layer] = true
	s.stops = append(s.stops, listen())
}

func (s *sources) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, stop := range s.stops {
		stop()
	}
	s.stops = nil
}
