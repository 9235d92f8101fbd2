package local

import (
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
)

// sources are the layers below that tell what becomes of sessions. told is atomic; mu
// guards the other fields.
type sources struct {
	told atomic.Bool // by an Announcer

	mu     sync.Mutex
	heard  map[teller]bool // that can be compared
	odd    []teller        // that were found and can't
	stops  []func()
	closed bool
}

// teller is a layer or source, as one of the two that it may be.
type teller struct {
	layer    any
	announce bool
}

// Hear listens to the given layer, and to those below that it shows with Unwrap, for
// what becomes of sessions. The constructor does so; a chain tells of layers behind one
// without Unwrap. Of several Announcers only the nearest knows what readers see: what
// another tells may lack changes that wait above it.
func (s *Storage) Hear(below gsession.Storage) {
	for below != nil {
		if a, ok := below.(tiers.Announcer); ok {
			s.sources.find(teller{layer: below, announce: true}, func() func() {
				if s.sources.told.Swap(true) {
					return a.Announce(outdater{s})
				}
				return a.Announce(listener{s})
			})
		}
		if source, ok := below.(tiers.Source); ok && !s.options.exclusive {
			s.sources.find(teller{layer: below}, func() func() { return s.listen(source) })
		}
		wrapper, ok := below.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return
		}
		below = wrapper.Unwrap()
	}
}

// find adds a layer that was found, which may be so several times.
func (s *sources) find(t teller, listen func() (stop func())) {
	if !s.again(t) {
		s.add(t, listen)
	}
}

// again reports whether one that can't be compared was found before.
func (s *sources) again(t teller) bool {
	layer := reflect.ValueOf(t.layer)
	if layer.Comparable() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.odd {
		if other.announce == t.announce && alike(reflect.ValueOf(other.layer), layer) {
			return true
		}
	}
	s.odd = append(s.odd, t)
	return false
}

// add listens, once for each layer or source that can be compared. Nobody who can't be is
// left out: a source that is heard twice costs reloads, one that isn't heard stale answers.
func (s *sources) add(t teller, listen func() (stop func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if reflect.ValueOf(t.layer).Comparable() {
		if s.heard[t] {
			return
		}
		if s.heard == nil {
			s.heard = map[teller]bool{}
		}
		s.heard[t] = true
	}
	s.stops = append(s.stops, listen())
}

// alike reports whether two values that can't be compared are copies of one: the same, field
// by field, what they refer to included. Of functions nobody can tell.
func alike(a, b reflect.Value) bool {
	switch {
	case a.Type() != b.Type():
		return false
	case a.Comparable():
		return b.Comparable() && a.Equal(b)
	}
	switch a.Kind() {
	case reflect.Struct:
		for n := range a.NumField() {
			if !alike(a.Field(n), b.Field(n)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map:
		return a.UnsafePointer() == b.UnsafePointer() && a.Len() == b.Len()
	default:
		return false
	}
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

// outdater is the side of the tier that an Announcer tells below the nearest one.
type outdater struct{ s *Storage }

var _ tiers.Cache = outdater{}

func (o outdater) Begin(string) (token uint64) { return 0 }

// Became outdates the session, as Shown does: what it has become is to be read through the
// nearest Announcer.
func (o outdater) Became(id string, _ time.Duration, _ uint64, _ *tiers.Snapshot) {
	o.s.outdate(o.s.guard.Hash(id), telemetry.InvalidatedByWrite)
}

func (o outdater) End(string) {}

func (o outdater) Shown(id string, _ time.Duration, _ *tiers.Snapshot) {
	o.s.outdate(o.s.guard.Hash(id), telemetry.InvalidatedByWrite)
}

// listener is the side of the tier that an Announcer tells.
type listener struct{ s *Storage }

var _ tiers.Cache = listener{}

func (l listener) Begin(id string) (token uint64) {
	return l.s.begin(l.s.guard.Hash(id), true).after
}

// Became keeps the state unless readers may have seen another one meanwhile.
func (l listener) Became(id string, ttl time.Duration, token uint64, state *tiers.Snapshot) {
	var written *entry
	if state != nil {
		written = &entry{id: id, snapshot: state, loaded: l.s.moment(state.Read()), echo: l.s.echoes.of(ttl)}
	}
	l.s.wrote(call{hash: l.s.guard.Hash(id), after: token, write: true}, written)
}

func (l listener) End(id string) { l.s.leave(call{hash: l.s.guard.Hash(id), write: true}) }

// Shown keeps the state if it was made of the read that is kept here: then it is sound
// for as long as that would have been.
func (l listener) Shown(id string, _ time.Duration, state *tiers.Snapshot) {
	l.s.shown(l.s.guard.Hash(id), id, state)
}
