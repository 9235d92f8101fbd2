package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// Reloads reports whether the storage below reads several sessions together.
func (s *Storage) Reloads() bool { return tiers.ReloaderOf(s.inner) != nil }

// LoadAll reads those together that needn't wait for a write. A session that changes while they are
// read is read once more, alone.
func (s *Storage) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	var (
		results  = make([]tiers.Reloaded, len(loads))
		places   = make([]int, 0, len(loads))
		views    = make([]*view, 0, len(loads))
		together = make([]tiers.Reload, 0, len(loads))
		alone    []int
	)
	for n, l := range loads {
		if v, wait := s.queues.look(l.ID); len(wait) > 0 {
			alone = append(alone, n)
		} else {
			places, views, together = append(places, n), append(views, v), append(together, l)
		}
	}
	defer func() {
		for _, v := range views {
			s.queues.leave(v)
		}
	}()
	if len(together) > 0 {
		began, clock := time.Now(), s.slides.clock()
		for i, loaded := range tiers.ReloaderOf(s.inner).LoadAll(ctx, together) {
			n, ok := places[i], true
			if loaded.Err == nil {
				loaded.Read, ok = s.under(views[i], loaded.Read, loads[n].TTL, began, clock)
			}
			if results[n] = loaded; !ok {
				alone = append(alone, n)
			}
		}
	}
	for _, n := range alone {
		results[n].Read, results[n].Err = s.Load(ctx, loads[n].ID, loads[n].TTL)
	}
	return results
}
