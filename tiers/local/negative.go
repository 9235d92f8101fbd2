package local

import "sync/atomic"

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

// find is what was put under the hash for the id.
func (n *negatives) find(hash uint64, id string) *entry {
	if e := n.slot(hash).Load(); e != nil && e.id == id {
		return e
	}
	return nil
}
