package local

import (
	"sync/atomic"
	"time"
)

const (
	negativeSlots = 4096
	maxNegativeID = 1024 // bytes; longer ids aren't remembered
)

// negatives remember ids without a session, apart from the cache, so that a flood of
// made-up ids pushes no session out. An id that shares a slot replaces the other.
// Each slot is an atomic pointer to an entry that doesn't change.
type negatives [negativeSlots]atomic.Pointer[entry]

// slot takes the hash's upper bits; the guard takes the lower ones.
func (n *negatives) slot(hash uint64) *atomic.Pointer[entry] {
	return &n[hash>>32%negativeSlots]
}

func (n *negatives) put(hash uint64, e *entry) {
	if len(e.id) <= maxNegativeID {
		n.slot(hash).Store(e)
	}
}

// find reports whether the id is known to have no session. What was put after the view
// was taken doesn't match it.
func (n *negatives) find(hash uint64, id string, ttl time.Duration, v view) bool {
	e := n.slot(hash).Load()
	return e != nil && e.stamp == v.stamp && v.now < e.until && v.vouches(e) && e.id == id && e.ttl == ttl
}
