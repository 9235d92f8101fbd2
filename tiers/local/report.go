package local

import (
	"github.com/dgraph-io/ristretto/v2"

	"github.com/gf-strata/strata/telemetry"
)

// Tally is where the tier counts.
func (s *Storage) Tally() *telemetry.Tally { return &s.tally }

// Gauges tells what the tier holds, and whether its sources vouch.
func (s *Storage) Gauges(set func(telemetry.Gauge, float64)) {
	if s.gate.closed() {
		return
	}
	set(telemetry.Sessions, float64(s.sessions.Load()+s.warm.alone.Load()))
	set(telemetry.MemoryUsage, float64(s.warm.held.Load()+s.cache.MaxCost()-s.cache.RemainingCost()))
	set(telemetry.MemoryLimit, float64(s.limits.Load().maxBytes))
	sources, supported := s.watch.state()
	if sources == 0 {
		return
	}
	set(telemetry.WatchConnected, is(supported && s.now() < s.watch.until.Load()))
	set(telemetry.WatchUnsupported, is(!supported))
}

func is(so bool) float64 {
	if so {
		return 1
	}
	return 0
}

// Report tells the tier, and what it stands on and listens to, where to report.
func (s *Storage) Report(to *telemetry.Sink) {
	s.reporter.Move(to, s)
	telemetry.Tell(s.inner, to)
}

// left is told by the cache of each entry that it has no more, or didn't take.
func (s *Storage) left(p *parcel) {
	if p != nil {
		s.sessions.Add(-1)
	}
}

// rejected is told by the cache of what its policy refuses, and also of a second Set that
// came before the first was taken: that session is in memory.
func (s *Storage) rejected(item *ristretto.Item[*parcel]) {
	if _, held := s.cache.Get(item.Key); !held {
		s.tally.Add(telemetry.RejectedByPolicy)
	}
}

// refused counts why an entry in memory couldn't be served.
func (s *Storage) refused(hash uint64, e *entry, v view) {
	switch {
	case e.stamp != v.stamp:
		s.tally.AddAt(telemetry.RefusedOutdated, hash)
	case v.now >= e.until:
		s.tally.AddAt(telemetry.RefusedExpired, hash)
	case !v.vouches(e):
		s.tally.AddAt(telemetry.RefusedUnvouched, hash)
	case !e.echo.trusted(v.now):
		s.tally.AddAt(telemetry.RefusedUnread, hash)
	}
}
