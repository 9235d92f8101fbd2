package local

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ttls are the times to live that sessions are asked for with, each by a number: a program
// has few. all is replaced under mu and never changed.
type ttls struct {
	mu  sync.Mutex
	all atomic.Pointer[[]time.Duration]
}

// number isn't ok where there are too many.
func (t *ttls) number(ttl time.Duration) (n uint8, ok bool) {
	if at := slices.Index(t.list(), ttl); at >= 0 {
		return uint8(at), true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.list()
	at := slices.Index(all, ttl)
	switch {
	case at >= 0:
	case len(all) > math.MaxUint8:
		return 0, false
	default:
		at = len(all)
		all = append(slices.Clip(all), ttl)
		t.all.Store(&all)
	}
	return uint8(at), true
}

// of is the time to live that has the number.
func (t *ttls) of(n uint8) time.Duration { return t.list()[n] }

func (t *ttls) list() []time.Duration {
	if all := t.all.Load(); all != nil {
		return *all
	}
	return nil
}
