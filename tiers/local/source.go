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
	heard  map[any]bool // layers and sources
	stops  []func()
	closed bool
}

// Hear listens to the given layer, and to those below that it shows with Unwrap, for
// what becomes of sessions. The constructor does so; a
// chain tells of layers behind one without Unwrap. Of several Announcers only the nearest
// knows what readers see: what another tells may lack changes that wait above it.
func (s *Storage) Hear(below gsession.Storage) {
	for below != nil {
		if a, ok := below.(tiers.Announcer); ok {
			s.sources.add(below, func() func() {
				if s.sources.told.Swap(true) {
					return a.Announce(outdater{s})
				}
				return a.Announce(listener{s})
			})
		}
		if source, ok := below.(tiers.Source); ok && !s.options.exclusive {
			s.sources.add(below, func() func() { return s.listen(source) })
		}
		wrapper, ok := below.(interface{ Unwrap() gsession.Storage })
		if !ok {
			return
		}
		below = wrapper.Unwrap()
	}
}

// add listens, once for each layer.
func (s *sources) add(layer any, listen func() (stop func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !reflect.ValueOf(layer).Comparable() || s.heard[layer] {
		return
	}
	if s.heard == nil {
		s.heard = map[any]bool{}
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
	token, _ = l.s.echoes.begin(l.s.guard.Hash(id))
	return token
}

// Became keeps the state unless another change of the session was heard of meanwhile.
func (l listener) Became(id string, ttl time.Duration, token uint64, state *tiers.Snapshot) {
	var written *entry
	if state != nil {
		written = &entry{id: id, ttl: ttl, snapshot: state, loaded: l.s.moment(state.Read())}
	}
	hash := l.s.guard.Hash(id)
	l.s.echoes.finish(hash, token, written)
	l.s.echoes.told(hash, nil, state)
}

func (l listener) End(id string) { l.s.echoes.leave(l.s.guard.Hash(id)) }

// Shown keeps the state if it was made of the read that is kept here: then it is sound
// for as long as that would have been.
func (l listener) Shown(id string, ttl time.Duration, state *tiers.Snapshot) {
	hash := l.s.guard.Hash(id)
	e, v := l.s.look(hash)
	sound := e != nil && state != nil && e.stands(id, ttl, v) && e.snapshot.Read().Equal(state.Read())
	if next, ok := l.s.guard.BumpFrom(hash, v.stamp); ok && sound {
		l.s.keep(hash, &entry{id: id, ttl: ttl, snapshot: state, stamp: next, loaded: e.loaded, echo: e.echo})
		l.s.echoes.told(hash, e.snapshot, state)
	}
}
