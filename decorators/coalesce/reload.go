package coalesce

import (
	"context"
	"time"

	"github.com/gf-strata/strata/tiers"
)

// Reloader is nil if the storage below reads sessions only one by one.
func (s *Storage) Reloader() tiers.Reloader {
	if inner := tiers.ReloaderOf(s.inner); inner != nil {
		return reloader{Storage: s, inner: inner}
	}
	return nil
}

// reloader is a Storage over one that reads several sessions together.
type reloader struct {
	*Storage
	inner tiers.Reloader
}

// LoadAll reads those together that needn't wait for a write. What changes while they are
// read is read once more, alone.
func (r reloader) LoadAll(ctx context.Context, loads []tiers.Reload) []tiers.Reloaded {
	var (
		results  = make([]tiers.Reloaded, len(loads))
		places   = make([]int, 0, len(loads))
		views    = make([]*view, 0, len(loads))
		together = make([]tiers.Reload, 0, len(loads))
		alone    []int
	)
	for n, l := range loads {
		if v, wait := r.queues.look(l.ID); len(wait) > 0 {
			alone = append(alone, n)
		} else {
			places, views, together = append(places, n), append(views, v), append(together, l)
		}
	}
	defer func() {
		for _, v := range views {
			r.queues.leave(v)
		}
	}()
	if len(together) > 0 {
		began, clock := time.Now(), r.slides.clock()
		for i, loaded := range r.inner.LoadAll(ctx, together) {
			n, ok := places[i], true
			if loaded.Err == nil {
				loaded.Read, ok = r.under(views[i], loaded.Read, loads[n].TTL, began, clock)
			}
			if results[n] = loaded; !ok {
				alone = append(alone, n)
			}
		}
	}
	for _, n := range alone {
		results[n].Read, results[n].Err = r.Load(ctx, loads[n].ID, loads[n].TTL)
	}
	return results
}
