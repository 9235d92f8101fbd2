package local

import (
	"time"

	"github.com/gf-strata/strata/tiers"
)

// The options of package layer, unchecked.

func MaxBytes(n int64) Option { return func(o *Options) { o.MaxBytes = n } }

func MaxStale(d time.Duration) Option { return func(o *Options) { o.MaxStale = d } }

func ServeStale(d time.Duration) Option { return func(o *Options) { o.ServeStale = d } }

func LoadTimeout(d time.Duration) Option { return func(o *Options) { o.LoadTimeout = d } }

func Exclusive() Option { return func(o *Options) { o.Exclusive = true } }

func GuardSlots(n int) Option { return func(o *Options) { o.GuardSlots = n } }

func Audited(fraction float64) Option { return func(o *Options) { o.Audited = fraction } }

func WarmRestart(path string) Option { return func(o *Options) { o.WarmRestart = path } }

func Invalidation(source tiers.InvalidationSource) Option {
	return func(o *Options) { o.Invalidations = append(o.Invalidations, source) }
}

// Held is a read that is held up after it has asked what the sources say: what it would do
// when it goes on.
func (s *Storage) Held(id string, meanwhile func()) (hit, none, joins bool) {
	hash := s.memory.guard.Hash(id)
	v := view{watched: s.watch.watched.Load(), vouched: s.watch.until.Load()} // as look does
	e := s.memory.lookup(hash)
	flying := s.memory.guard.Stamp(hash)
	meanwhile()
	v.stamp, v.now = s.memory.guard.Stamp(hash), s.memory.now()
	hit = e != nil && e.current(id, v)
	n := s.memory.absences.find(hash)
	none = n != nil && n.stamp == v.stamp && v.serves(n)
	return hit, none, v.stamp == flying && s.memory.joinable(v) < v.now-int64(overlapWindow)
}

// Saved returns the ids in a file of WarmRestart.
func Saved(path string) (ids []string, err error) {
	l, err := readList(path, 1<<30)
	for _, s := range l.Sessions {
		ids = append(ids, string(s.ID))
	}
	return ids, err
}
